//! How a worker goes through a batch: leases, a tray, and results sent together.

use whichever_pool::wire::{RECYCLE, ReplyHead, ReplyKind, Request};
use whichever_ring::TrayContent;

use super::super::world::{Way, lock};
use super::{Job, Step, Worker, answer, id_at, kind_of};

/// How long items run between two looks, how many they are at most, and how long results wait: as in the real worker.
const LEASE_NS: u64 = 20_000;
const LEASE_TASKS: u64 = 1024;
const PART_NS: u64 = 200_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    Lease,
    LookAll,
    LookOne,
    Start,
    Run(u64),
    SendPart { then_alone: Option<ReplyKind> },
    EmptyTray { then_alone: Option<ReplyKind> },
    SendAlone(ReplyKind),
    Pass,
}

impl Worker {
    pub(super) fn take_batch(&mut self, request: &Request<'_>) -> Step {
        assert!(self.functions.contains(&request.head.function));
        let ids: Vec<u32> = request.body.chunks_exact(4).map(id_at).collect();
        assert_eq!(ids.len(), request.head.count as usize);
        self.position = request.head.position;
        self.leased = self.position - 1;
        self.empty_tray();
        self.in_batch_end = false;
        let job = Job { position: self.position, ids, slabs: vec![], interrupted: false };
        Step::Batch(job, Stage::Lease)
    }

    fn empty_tray(&mut self) {
        (self.tray_ns, self.part_ns) = (0, lock(&self.world).now_ns);
        self.tray = TrayContent { first: self.position, count: 0, codes: Vec::new() };
    }

    pub(super) fn follow_batch(&mut self, mut job: Job, stage: Stage) -> Step {
        let end = job.position + job.ids.len() as u64;
        let next = match stage {
            Stage::Lease if self.position >= end => self.leave(),
            Stage::Lease if self.position <= self.leased && self.position < self.first_revoked => {
                Stage::Start
            }
            Stage::Lease if self.position <= self.leased => self.leave(),
            Stage::Lease if self.tray.count > 0 && self.wants_to_send() => {
                Stage::SendPart { then_alone: None }
            }
            Stage::Lease => {
                self.leased = (self.position + self.lease()).min(end) - 1;
                self.begin(self.leased);
                Stage::LookAll
            }
            Stage::LookAll if self.leased < self.first_revoked => Stage::Start,
            Stage::LookAll => {
                self.leased = self.position;
                self.begin(self.position);
                Stage::LookOne
            }
            Stage::LookOne if self.position < self.first_revoked => Stage::Start,
            Stage::LookOne => self.leave(),
            Stage::Start => self.start_item(&job),
            Stage::Run(end_ns) => match self.run_item(&mut job, end_ns) {
                Some(stage) => stage,
                None => {
                    self.step = Step::Batch(job, stage);
                    self.die(Some(11));
                    return std::mem::replace(&mut self.step, Step::Over);
                }
            },
            Stage::SendPart { then_alone } => self.send_part(then_alone, stage),
            Stage::EmptyTray { then_alone } => {
                self.empty_tray();
                match then_alone {
                    Some(kind) => Stage::SendAlone(kind),
                    None if self.in_batch_end => Stage::Pass,
                    None => Stage::Lease,
                }
            }
            Stage::SendAlone(kind) => self.send_alone(&job, kind),
            Stage::Pass if self.position < end => {
                let head = ReplyHead::plain(ReplyKind::Revoked, self.position, end - 1).to_bytes();
                if !self.push(&[&head]) {
                    return Step::Batch(job, Stage::Pass);
                }
                return Step::End(None);
            }
            Stage::Pass => return Step::End(None),
        };
        Step::Batch(job, next)
    }

    /// Whether what lies in the tray has waited long enough.
    fn wants_to_send(&mut self) -> bool {
        if self.temper.steady {
            return lock(&self.world).now_ns - self.part_ns > PART_NS;
        }
        self.dice.one_in(4)
    }

    /// How many items may begin before the next look.
    fn lease(&mut self) -> u64 {
        if !self.temper.steady {
            return 1 + self.dice.roll(8);
        }
        let now_ns = lock(&self.world).now_ns;
        let elapsed_ns = now_ns - std::mem::replace(&mut self.looked_ns, now_ns);
        if elapsed_ns < LEASE_NS / 2 {
            self.pace = (self.pace * 2).min(LEASE_TASKS);
        } else if elapsed_ns > LEASE_NS * 2 {
            self.pace = (self.pace / 2).max(1);
        }
        self.pace
    }

    fn id_now(&self, job: &Job) -> u32 {
        job.ids[(self.position - job.position) as usize]
    }

    /// Go to the batch's end, whatever of it is left.
    fn leave(&mut self) -> Stage {
        self.in_batch_end = true;
        Stage::SendPart { then_alone: None }
    }

    fn start_item(&mut self, job: &Job) -> Stage {
        let id = self.id_now(job);
        let mut world = lock(&self.world);
        let item = world.items[id as usize].clone();
        world.start(self.token, id);
        (self.runs, self.began_ns) = (Some(id), world.now_ns);
        if item.way == Way::DoesNotLoad {
            return Stage::SendPart { then_alone: Some(ReplyKind::Unloadable) };
        }
        Stage::Run(world.now_ns.saturating_add(item.length_ns))
    }

    /// The stage after this one; None when the item takes its worker along.
    fn run_item(&mut self, job: &mut Job, end_ns: u64) -> Option<Stage> {
        let id = self.id_now(job);
        let (now_ns, item) = {
            let world = lock(&self.world);
            (world.now_ns, world.items[id as usize].clone())
        };
        let asked = self.take_interrupt();
        job.interrupted |= asked;
        let stopped = asked && item.way != Way::Hangs { stubborn: true };
        self.talk(id);
        if !stopped && now_ns < end_ns {
            return Some(Stage::Run(end_ns));
        }
        if item.way == Way::Kills && item.starts == 1 && !stopped {
            return None;
        }
        let kind = if stopped { ReplyKind::Raised } else { kind_of(item.way) };
        if !stopped && item.way == Way::Returns {
            self.tray.codes.extend(id.to_le_bytes());
            self.tray.count += 1;
            self.tray_ns += now_ns - self.began_ns;
            self.finish(id);
            self.position += 1;
            return Some(self.after_item(job));
        }
        self.in_batch_end |= job.interrupted;
        Some(Stage::SendPart { then_alone: Some(kind) })
    }

    fn after_item(&mut self, job: &Job) -> Stage {
        if job.interrupted {
            return self.leave();
        }
        Stage::Lease
    }

    fn send_part(&mut self, then_alone: Option<ReplyKind>, stage: Stage) -> Stage {
        if self.tray.count > 0 {
            let flags = if self.dice.one_in(self.temper.recycles) { RECYCLE } else { 0 };
            let head = ReplyHead {
                flags,
                count: self.tray.count as u16,
                ..ReplyHead::plain(ReplyKind::Items, self.tray.first, self.tray_ns)
            };
            let codes = self.tray.codes.clone();
            if !self.push(&[&head.to_bytes(), &codes]) {
                return stage;
            }
        }
        Stage::EmptyTray { then_alone }
    }

    fn send_alone(&mut self, job: &Job, kind: ReplyKind) -> Stage {
        let id = self.id_now(job);
        let large = kind == ReplyKind::Pickled;
        let reply = if large {
            self.large_answer(self.position, id)
        } else {
            answer(kind, 0, (self.position, id), self.ran_ns())
        };
        if !self.push(&[&reply]) {
            return Stage::SendAlone(kind);
        }
        self.finish(id);
        self.position += 1;
        self.empty_tray();
        self.after_item(job)
    }
}
