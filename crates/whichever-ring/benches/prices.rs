//! What the shared memory costs: a record, a round trip between two processes, a filled range.
//!
//! `cargo bench -p whichever-ring`. Prints medians; compare them within one run only.
#![cfg_attr(not(unix), no_main)]
#![cfg(unix)]
#![expect(clippy::print_stdout, reason = "a bench prints its figures")]

#[path = "../tests/support/mod.rs"]
mod support;

use std::time::{Duration, Instant};

use support::{role, start_again};
use whichever_ring::{
    Arena, Bell, CallerEnd, Spin, Wait, WorkerEnd, create_link, create_page, open_link, open_page,
};
use whichever_sys::{SharedFile, monotonic_ns};

const REPEATS: usize = 7;
const LONG: Option<Duration> = Some(Duration::from_secs(20));

fn main() {
    if let Some((name, files)) = role() {
        return answer(&name, files);
    }
    record();
    for (name, spin) in [("asleep", Spin::never as fn() -> Spin), ("spinning", Spin::new)] {
        round_trip(name, spin);
    }
    begin_and_end();
    for len in [64 << 10, 1 << 20, 100 << 20] {
        fill(len);
    }
    allocate_and_free();
}

/// Run `work` some times; print the median of its nanoseconds per operation.
fn show(name: &str, operations: u32, mut work: impl FnMut()) {
    let mut times: Vec<f64> = (0..REPEATS)
        .map(|_| {
            let start = Instant::now();
            work();
            start.elapsed().as_secs_f64() * 1e9 / f64::from(operations)
        })
        .collect();
    times.sort_by(f64::total_cmp);
    println!("{name:<44} {:>12.1} ns", times[REPEATS / 2]);
}

fn record() {
    const COUNT: u32 = 1_000_000;
    let (file, mut caller) = create_link(256 * 1024).expect("a link");
    let mut worker = open_link(file).expect("the link just made");
    show("push + pop, 16 bytes", COUNT, || {
        for _ in 0..COUNT {
            caller.requests.try_push(&[&[1; 16]]).expect("the ring is empty");
            worker.requests.pop(|bytes| std::hint::black_box(bytes[0]));
        }
    });
    show("push + pop, 16 bytes, 64 at a time", COUNT, || {
        for _ in 0..COUNT / 64 {
            for _ in 0..64 {
                caller.requests.try_push(&[&[1; 16]]).expect("the ring has room for 64");
            }
            while worker.requests.pop(|bytes| std::hint::black_box(bytes[0])).is_some() {}
        }
    });
    show("ring, nobody asleep", COUNT, || (0..COUNT).for_each(|_| caller.desk.bell().ring()));
}

fn begin_and_end() {
    const COUNT: u32 = 1_000_000;
    let (_file, caller) = create_link(64).expect("a link");
    let mut seq = 0;
    show("begin + end", COUNT, || {
        for _ in 0..COUNT {
            seq += 1;
            std::hint::black_box(caller.desk.begin(seq, seq));
            caller.desk.end();
        }
    });
}

/// One process asks, another answers; both wait as `spin` says.
fn round_trip(name: &str, spin: fn() -> Spin) {
    const COUNT: u32 = 20_000;
    let (link, mut caller) = create_link(64 * 1024).expect("a link");
    let (page_file, page) = create_page().expect("a page");
    let mut peer = start_again::<&str>(&[], name, &[&link, &page_file]);
    let mut habit = spin();
    let mut ask = |bytes: &[u8]| {
        let CallerEnd { requests, results, desk } = &mut caller;
        requests.try_push(&[bytes]).expect("the ring is empty");
        desk.bell().ring();
        assert_eq!(page.bell().wait(|| !results.is_empty(), LONG, &mut habit), Wait::Ready);
        results.pop(|bytes| std::hint::black_box(bytes[0]));
    };
    show(&format!("round trip of two processes, {name}"), COUNT, || {
        (0..COUNT).for_each(|_| ask(&[1; 16]));
    });
    ask(b"");
    peer.wait().expect("the peer was told to end");
}

/// Be the peer: answer until an empty request comes.
fn answer(name: &str, files: Vec<SharedFile>) {
    let mut files = files.into_iter();
    let mut worker = open_link(files.next().expect("a link was given")).expect("it is one");
    let page = open_page(files.next().expect("a page was given")).expect("it is one");
    let mut spin = if name == "spinning" { Spin::new() } else { Spin::never() };
    while answer_one(&mut worker, page.bell(), &mut spin) {}
}

fn answer_one(worker: &mut WorkerEnd, caller: Bell<'_>, spin: &mut Spin) -> bool {
    let WorkerEnd { requests, results, desk } = worker;
    assert_eq!(desk.bell().wait(|| !requests.is_empty(), LONG, spin), Wait::Ready);
    let more = requests.pop(|bytes| !bytes.is_empty()).expect("the wait said so");
    let _ = desk.begin(1, monotonic_ns());
    results.try_push(&[&[1; 16]]).expect("the ring is empty");
    desk.end();
    caller.ring();
    more
}

fn fill(len: usize) {
    let bytes = vec![1; len];
    let speed = |name: &str, kept: bool| {
        let arena =
            Arena::with_limits("whichever-bench", 4 << 30, if kept { 1 << 30 } else { 0 }).expect("an arena");
        let mut times = Vec::new();
        for _ in 0..REPEATS * 3 {
            let range = arena.allocate(len).expect("memory");
            let start = Instant::now();
            arena.fill(&range, 0, &bytes).expect("memory");
            times.push(start.elapsed().as_secs_f64());
            arena.free(range.offset);
        }
        times.sort_by(f64::total_cmp);
        let median = times[times.len() / 2];
        println!(
            "{:<44} {:>12.2} GB/s",
            format!("fill, {} KiB, {name}", len >> 10),
            len as f64 / median / 1e9
        );
    };
    speed("fresh", false);
    speed("warm", true);
    let file = SharedFile::create("whichever-bench").expect("a file");
    file.write_at(&bytes, 0).expect("memory");
    show(&format!("pwrite to warm pages, {} KiB", len >> 10), 1, || {
        file.write_at(&bytes, 0).expect("memory")
    });
    let mut copy = vec![0; len];
    show(&format!("memcpy in private memory, {} KiB", len >> 10), 1, || {
        copy.copy_from_slice(std::hint::black_box(&bytes))
    });
}

fn allocate_and_free() {
    const COUNT: u32 = 100_000;
    let arena = Arena::create("whichever-bench").expect("an arena");
    show("allocate + free, warm", COUNT, || {
        for _ in 0..COUNT {
            let range = arena.allocate(100_000).expect("memory");
            arena.free(range.offset);
        }
    });
}
