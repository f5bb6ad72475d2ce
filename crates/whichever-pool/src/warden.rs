//! Knows which worker processes live: one thread for all pools of this process.
//!
//! Templates report the workers they forked, over their control sockets; for workers that others started it watches their
//! process ids. Whoever expects a worker is told of its end once, also when it ended before he asked.
//!
//! Packets of a template, 32 bytes, native byte order: kind u8, 3 unused, a i32, token i64, b i64, c i64.
//! `F` forked: a is the process id. `E` could not fork: a is the error number. `D` ended: a is the wait status, b the
//! most KiB it held resident, c its process id.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use whichever_sys::{Pidfd, SignalsBlocked, poll_readable};

use crate::task::Death;

const PACKET: usize = 32;

/// Told once of a worker's end. Must not wait.
pub type Mourner = Box<dyn FnOnce(Death) + Send>;

#[derive(Default)]
struct Worker {
    pid: u32,
    template: u64,
    death: Option<Death>,
    mourner: Option<Mourner>,
}

#[derive(Default)]
struct Register {
    next_token: u64,
    next_template: u64,
    workers: HashMap<u64, Worker>,
    templates: HashMap<u64, Arc<File>>,
    watched: HashMap<u64, Arc<Pidfd>>,
}

/// See the module.
pub struct Warden {
    register: Arc<Mutex<Register>>,
    waker: UnixStream,
}

impl Warden {
    /// Start the thread.
    ///
    /// # Errors
    /// When the system has no descriptors or threads left.
    pub fn start() -> io::Result<Self> {
        let register = Arc::new(Mutex::new(Register::default()));
        let (waker, sleeper) = UnixStream::pair()?;
        sleeper.set_nonblocking(true)?;
        let shared = Arc::clone(&register);
        let _blocked = SignalsBlocked::new();
        thread::Builder::new()
            .name("whichever-warden".to_owned())
            .stack_size(128 * 1024)
            .spawn(move || watch(&shared, &sleeper))?;
        Ok(Self { register, waker })
    }

    /// A number for a worker that is to be started.
    pub fn new_token(&self) -> u64 {
        let mut register = lock(&self.register);
        register.next_token += 1;
        register.next_token
    }

    /// Listen to a template; returns its number for `belongs`.
    pub fn adopt(&self, control: OwnedFd) -> u64 {
        let mut register = lock(&self.register);
        register.next_template += 1;
        let number = register.next_template;
        register.templates.insert(number, Arc::new(File::from(control)));
        self.wake();
        number
    }

    /// The worker `token` will be forked by this template: it ends when the template does.
    pub fn belongs(&self, token: u64, template: u64) {
        let mut register = lock(&self.register);
        let gone = !register.templates.contains_key(&template);
        let worker = register.workers.entry(token).or_default();
        worker.template = template;
        if gone {
            worker.death = Some(Death { token, ..Death::default() });
        }
    }

    /// Watch a process that somebody else started as worker `token`.
    ///
    /// # Errors
    /// When the process is gone, or the system cannot watch it.
    pub fn watch_pid(&self, token: u64, pid: u32) -> io::Result<()> {
        let pidfd = Arc::new(Pidfd::open(pid)?);
        let mut register = lock(&self.register);
        register.watched.insert(token, pidfd);
        register.workers.entry(token).or_default().pid = pid;
        self.wake();
        Ok(())
    }

    /// Say whom to tell when the worker ends.
    pub fn expect(&self, token: u64, mourner: Mourner) {
        let mut register = lock(&self.register);
        let worker = register.workers.entry(token).or_default();
        match worker.death.take() {
            None => worker.mourner = Some(mourner),
            Some(death) => {
                register.workers.remove(&token);
                drop(register);
                mourner(death);
            }
        }
    }

    /// Whether the worker has ended, as far as is known.
    #[must_use]
    pub fn has_ended(&self, token: u64) -> bool {
        lock(&self.register).workers.get(&token).is_some_and(|worker| worker.death.is_some())
    }

    /// Forget a worker whose end interests nobody.
    pub fn forget(&self, token: u64) {
        let mut register = lock(&self.register);
        register.workers.remove(&token);
        register.watched.remove(&token);
    }

    /// The worker's process id, if it is known.
    #[must_use]
    pub fn pid(&self, token: u64) -> Option<u32> {
        lock(&self.register).workers.get(&token).map(|worker| worker.pid).filter(|pid| *pid != 0)
    }

    fn wake(&self) {
        // A full pipe wakes as well as one byte more.
        let _full = (&self.waker).write(&[1]);
    }
}

fn lock(register: &Mutex<Register>) -> MutexGuard<'_, Register> {
    register.lock().unwrap_or_else(PoisonError::into_inner)
}

enum Source {
    Template(u64, Arc<File>),
    Process(u64, Arc<Pidfd>),
}

impl Source {
    fn fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Template(_, control) => control.as_fd(),
            Self::Process(_, pidfd) => pidfd.as_fd(),
        }
    }
}

fn watch(register: &Mutex<Register>, sleeper: &UnixStream) {
    loop {
        let sources = sources(&lock(register));
        let fds: Vec<BorrowedFd<'_>> =
            std::iter::once(sleeper.as_fd()).chain(sources.iter().map(Source::fd)).collect();
        let Ok(readable) = poll_readable(&fds, None) else { return };
        if readable.first() == Some(&true) && has_hung_up(sleeper) {
            return;
        }
        let ready = sources.iter().zip(readable.iter().skip(1)).filter(|(_, ready)| **ready);
        for (source, _) in ready {
            match source {
                Source::Template(number, control) => listen(register, *number, control),
                Source::Process(token, _) => {
                    lock(register).watched.remove(token);
                    mourn(register, Death { token: *token, ..Death::default() });
                }
            }
        }
    }
}

/// Empty the waker's pipe; true when its other end is gone.
fn has_hung_up(mut sleeper: &UnixStream) -> bool {
    let mut bytes = [0; 64];
    loop {
        match sleeper.read(&mut bytes) {
            Ok(0) => return true,
            Ok(_) => {}
            Err(error) => return error.kind() != io::ErrorKind::WouldBlock,
        }
    }
}

fn sources(register: &Register) -> Vec<Source> {
    let templates =
        register.templates.iter().map(|(number, file)| Source::Template(*number, Arc::clone(file)));
    let processes = register.watched.iter().map(|(token, pidfd)| Source::Process(*token, Arc::clone(pidfd)));
    templates.chain(processes).collect()
}

/// Read one packet; a template that hangs up takes its workers with it.
fn listen(register: &Mutex<Register>, number: u64, mut control: &File) {
    let mut packet = [0; PACKET];
    match control.read(&mut packet) {
        Ok(PACKET) => note(register, number, &packet),
        Ok(0) => lose_template(register, number),
        Ok(_) => {}
        Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {}
        Err(_) => lose_template(register, number),
    }
}

fn note(register: &Mutex<Register>, number: u64, packet: &[u8; PACKET]) {
    let a = i32::from_ne_bytes([packet[4], packet[5], packet[6], packet[7]]);
    let [token, b, c] = [8, 16, 24].map(|at| word(packet, at));
    match packet[0] {
        b'F' => {
            let mut register = lock(register);
            let worker = register.workers.entry(token).or_default();
            worker.pid = u32::try_from(a).unwrap_or(0);
            worker.template = number;
        }
        b'E' => mourn(register, Death { token, start_error: Some(a), ..Death::default() }),
        b'D' => {
            let killed = a & 0x7f;
            mourn(
                register,
                Death {
                    pid: u32::try_from(c).unwrap_or(0),
                    signal: (killed != 0).then_some(killed),
                    exit_code: (killed == 0).then_some((a >> 8) & 0xff),
                    peak_bytes: Some(b.saturating_mul(1024)),
                    token,
                    start_error: None,
                },
            );
        }
        _ => {}
    }
}

fn word(packet: &[u8; PACKET], at: usize) -> u64 {
    let mut bytes = [0; 8];
    bytes.copy_from_slice(&packet[at..at + 8]);
    u64::from_ne_bytes(bytes)
}

fn lose_template(register: &Mutex<Register>, number: u64) {
    let mut state = lock(register);
    state.templates.remove(&number);
    let lost: Vec<u64> = state
        .workers
        .iter()
        .filter(|(_, worker)| worker.template == number)
        .map(|(token, _)| *token)
        .collect();
    drop(state);
    for token in lost {
        mourn(register, Death { token, ..Death::default() });
    }
}

/// Tell who expects the worker, or keep the news for him.
fn mourn(register: &Mutex<Register>, mut death: Death) {
    let mut state = lock(register);
    let worker = state.workers.entry(death.token).or_default();
    if death.pid == 0 {
        death.pid = worker.pid;
    }
    let Some(mourner) = worker.mourner.take() else {
        worker.death.get_or_insert(death);
        return;
    };
    state.workers.remove(&death.token);
    drop(state);
    mourner(death);
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;
    use std::sync::mpsc;
    use std::time::Duration;

    const PATIENCE: Duration = Duration::from_secs(10);

    fn packet(kind: u8, a: i32, token: u64, b: u64, c: u64) -> Vec<u8> {
        let words = [token, b, c].map(u64::to_ne_bytes).concat();
        [&[kind, 0, 0, 0][..], &a.to_ne_bytes(), &words].concat()
    }

    fn told(warden: &Warden, token: u64) -> mpsc::Receiver<Death> {
        let (sender, receiver) = mpsc::channel();
        warden.expect(token, Box::new(move |death| sender.send(death).unwrap()));
        receiver
    }

    #[test]
    fn the_end_of_a_forked_worker_is_told_with_its_signal() {
        let warden = Warden::start().unwrap();
        let (mut template, control) = UnixStream::pair().unwrap();
        warden.adopt(control.into());
        let token = warden.new_token();
        let news = told(&warden, token);
        template.write_all(&packet(b'F', 77, token, 0, 0)).unwrap();
        template.write_all(&packet(b'D', 9, token, 2, 77)).unwrap();
        let death = news.recv_timeout(PATIENCE).unwrap();
        assert_eq!(
            (death.pid, death.signal, death.exit_code, death.peak_bytes),
            (77, Some(9), None, Some(2048))
        );
    }

    #[test]
    fn a_template_that_hangs_up_takes_its_workers_with_it() {
        let warden = Warden::start().unwrap();
        let (template, control) = UnixStream::pair().unwrap();
        let number = warden.adopt(control.into());
        let token = warden.new_token();
        warden.belongs(token, number);
        let news = told(&warden, token);
        drop(template);
        let death = news.recv_timeout(PATIENCE).unwrap();
        assert_eq!(death, Death { token, ..Death::default() });
        let late = warden.new_token();
        warden.belongs(late, number);
        assert!(told(&warden, late).recv_timeout(PATIENCE).is_ok());
    }

    #[test]
    fn an_end_before_anybody_asked_is_told_when_somebody_does() {
        let warden = Warden::start().unwrap();
        let mut child = Command::new("sleep").arg("60").spawn().unwrap();
        let token = warden.new_token();
        warden.watch_pid(token, child.id()).unwrap();
        assert_eq!(warden.pid(token), Some(child.id()));
        child.kill().unwrap();
        child.wait().unwrap();
        let death = told(&warden, token).recv_timeout(PATIENCE).unwrap();
        assert_eq!((death.pid, death.token), (child.id(), token));
    }
}
