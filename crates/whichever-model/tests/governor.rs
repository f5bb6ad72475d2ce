//! The governor in simulated pools: how many threads it lets work, and how long the tasks take.

mod simulation {
    //! Tasks that go through stages, one after the other, on a clock that jumps from event to event.

    use std::cmp::Reverse;
    use std::collections::{BinaryHeap, VecDeque};

    use whichever_model::{Governor, Reading};

    const NS: f64 = 1e9;
    /// From one look of who sees that the program waits to the next.
    const LOOK_NS: u64 = 1_000_000;

    /// One stage of a task.
    #[derive(Clone, Copy)]
    pub(super) enum Stage {
        /// Just waits for so many seconds.
        Wait(f64),
        /// Is served for so many seconds, by a server that serves so many at a time.
        Served(f64, usize),
        /// Holds the GIL for so many seconds.
        Held(f64),
    }

    pub(super) struct Outcome {
        pub(super) seconds: f64,
        pub(super) limit: usize,
        pub(super) most: usize,
    }

    pub(super) struct World<'a> {
        stages: &'a dyn Fn(usize) -> Vec<Stage>,
        governor: Governor,
        now_ns: u64,
        events: BinaryHeap<Reverse<(u64, usize)>>,
        /// Each task's stages that are left.
        left: Vec<VecDeque<Stage>>,
        served: usize,
        in_line: VecDeque<usize>,
        holder: Option<usize>,
        wants: VecDeque<usize>,
        working: usize,
        ended: u64,
        next: usize,
        tasks: usize,
        most: usize,
        /// CPU seconds that tasks have had the GIL for.
        cpu: f64,
    }

    pub(super) fn run(governor: Governor, tasks: usize, stages: &dyn Fn(usize) -> Vec<Stage>) -> Outcome {
        let left = vec![VecDeque::new(); tasks];
        let mut world = World {
            stages,
            governor,
            now_ns: 0,
            events: BinaryHeap::new(),
            left,
            served: 0,
            in_line: VecDeque::new(),
            holder: None,
            wants: VecDeque::new(),
            working: 0,
            ended: 0,
            next: 0,
            tasks,
            most: 0,
            cpu: 0.0,
        };
        world.run();
        Outcome { seconds: world.now_ns as f64 / NS, limit: world.governor.limit(), most: world.most }
    }

    impl World<'_> {
        fn run(&mut self) {
            let mut look_ns = LOOK_NS;
            self.start();
            while let Some(&Reverse((at_ns, task))) = self.events.peek() {
                if look_ns < at_ns {
                    self.now_ns = look_ns;
                    if self.holder.is_none() && self.working >= self.governor.limit() {
                        let reading = self.reading();
                        self.governor.program_waits(reading);
                        self.start();
                    }
                    look_ns += LOOK_NS;
                    continue;
                }
                self.events.pop();
                self.now_ns = at_ns;
                self.stage_is_over(task);
            }
        }

        fn reading(&self) -> Reading {
            let waiting = self.tasks - self.next;
            Reading {
                seconds: self.now_ns as f64 / NS,
                cpu: self.cpu,
                ended: self.ended,
                working: self.working,
                waiting,
            }
        }

        fn start(&mut self) {
            while self.working < self.governor.limit() && self.next < self.tasks {
                let task = self.next;
                self.next += 1;
                self.working += 1;
                self.left[task] = (self.stages)(task).into();
                self.enter(task);
            }
            self.most = self.most.max(self.working);
        }

        fn enter(&mut self, task: usize) {
            match self.left[task].front() {
                None => self.end(),
                Some(&Stage::Wait(seconds)) => self.after(seconds, task),
                Some(&Stage::Served(seconds, slots)) if self.served < slots => {
                    self.served += 1;
                    self.after(seconds, task);
                }
                Some(Stage::Served(..)) => self.in_line.push_back(task),
                Some(&Stage::Held(seconds)) if self.holder.is_none() => {
                    self.holder = Some(task);
                    self.after(seconds, task);
                }
                Some(Stage::Held(_)) => self.wants.push_back(task),
            }
        }

        fn after(&mut self, seconds: f64, task: usize) {
            self.events.push(Reverse((self.now_ns + (seconds * NS) as u64, task)));
        }

        fn stage_is_over(&mut self, task: usize) {
            let next = match self.left[task].pop_front() {
                Some(Stage::Served(..)) => {
                    self.served -= 1;
                    self.in_line.pop_front()
                }
                Some(Stage::Held(seconds)) => {
                    self.cpu += seconds;
                    self.holder = None;
                    self.wants.pop_front()
                }
                _ => None,
            };
            if let Some(next) = next {
                self.enter(next);
            }
            self.enter(task);
        }

        fn end(&mut self) {
            self.working -= 1;
            self.ended += 1;
            if self.ended >= self.governor.due() {
                let mut reading = self.reading();
                reading.working += 1; // its worker is the one that looks
                self.governor.observe(reading);
            }
            self.start();
        }
    }
}

use proptest::prelude::*;
use simulation::{Outcome, Stage, run};
use whichever_model::{Governor, Reading};

const MOST: usize = 128;

fn governed(tasks: usize, stages: impl Fn(usize) -> Vec<Stage>) -> Outcome {
    run(Governor::new(3, MOST), tasks, &stages)
}

fn fixed(workers: usize, tasks: usize, stages: impl Fn(usize) -> Vec<Stage>) -> f64 {
    run(Governor::new(workers, workers), tasks, &stages).seconds
}

#[test]
fn one_turn_of_naps_takes_little_more_than_one_nap() {
    let outcome = governed(60, |_| vec![Stage::Wait(0.05)]);
    assert!(outcome.seconds < 0.055, "{}", outcome.seconds);
}

#[test]
fn tasks_that_only_wait_get_all_threads_and_keep_them() {
    for seconds in [0.002, 0.02, 0.3] {
        let outcome = governed(20_000, |_| vec![Stage::Wait(seconds)]);
        assert_eq!(outcome.limit, MOST, "{seconds}");
        let best = fixed(MOST, 20_000, |_| vec![Stage::Wait(seconds)]);
        assert!(outcome.seconds < 1.05 * best + 0.08, "{seconds}: {} of {best}", outcome.seconds);
    }
}

#[test]
fn a_server_that_serves_eight_at_a_time_is_left_with_few_more() {
    let stages = |_| vec![Stage::Served(0.05, 8)];
    let outcome = governed(4000, stages);
    assert!((8..=32).contains(&outcome.limit), "{}", outcome.limit);
    let best = fixed(8, 4000, stages);
    assert!(outcome.seconds < 1.06 * best, "{} of {best}, {}", outcome.seconds, outcome.limit);
}

#[test]
fn tasks_that_hold_the_gil_get_no_more_threads_than_the_first_few() {
    let outcome = governed(500, |_| vec![Stage::Held(0.01)]);
    assert_eq!((outcome.limit, outcome.most), (3, 3));
}

#[test]
fn tasks_that_wait_and_then_compute_end_with_the_threads_that_keep_the_gil_busy() {
    let stages = |_| vec![Stage::Held(0.001), Stage::Wait(0.01), Stage::Held(0.006)];
    let outcome = governed(2000, stages);
    assert!((3..=32).contains(&outcome.limit), "{}", outcome.limit);
    let best = fixed(16, 2000, stages);
    assert!(outcome.seconds < 1.03 * best, "{} of {best}, {}", outcome.seconds, outcome.limit);
}

#[test]
fn children_that_take_long_to_start_and_then_wait_are_all_started() {
    let stages = |_| vec![Stage::Held(0.0015), Stage::Wait(0.05)];
    let outcome = governed(50, stages);
    let best = fixed(50, 50, stages);
    assert!(outcome.seconds < 1.15 * best, "{} of {best}", outcome.seconds);
}

#[test]
fn uneven_waits_keep_their_threads_though_the_first_ends_tell_of_short_ones() {
    let stages = |task: usize| vec![Stage::Wait([0.002, 0.01, 0.08, 0.3][task % 4])];
    let outcome = governed(20_000, stages);
    assert_eq!(outcome.limit, MOST);
    assert!(outcome.seconds < 1.1 * fixed(MOST, 20_000, stages));
}

#[test]
fn waits_that_get_longer_do_not_cost_threads() {
    let stages = |task: usize| vec![Stage::Wait(if task < 5000 { 0.005 } else { 0.05 })];
    let outcome = governed(20_000, stages);
    assert_eq!(outcome.limit, MOST);
    assert!(outcome.seconds < 1.1 * fixed(MOST, 20_000, stages));
}

#[test]
fn a_machine_that_gets_busy_gets_fewer_threads() {
    let stages = |task: usize| {
        let slower = if task < 2000 { 1.0 } else { 40.0 };
        vec![Stage::Wait(0.02), Stage::Held(0.0001 * slower)]
    };
    let before = governed(1900, stages);
    let after = governed(12_000, stages);
    assert!(before.limit >= 64 && after.limit <= 32, "{} {}", before.limit, after.limit);
    assert!(after.seconds < 1.05 * fixed(MOST, 12_000, stages));
}

#[test]
fn threads_that_wait_for_tasks_behind_them_get_company() {
    let mut governor = Governor::new(2, 64);
    let reading = |seconds, ended| Reading { seconds, cpu: 0.0, ended, working: 8, waiting: 50 };
    for turn in 0..40_u32 {
        governor.observe(reading(f64::from(turn), u64::from(turn) * 32));
    }
    let before = governor.limit();
    // Now none ends any more.
    for look in 0..4000 {
        governor.program_waits(reading(40.0 + f64::from(look) * 1e-3, 40 * 32));
    }
    assert!(before < 64 && governor.limit() == 64, "{before} {}", governor.limit());
}

#[test]
fn other_tasks_find_the_threads_there_were_and_may_have_more_at_once() {
    let mut governor = Governor::new(3, MOST);
    let reading = |seconds, ended| Reading { seconds, cpu: 0.0, ended, working: 3, waiting: 50 };
    governor.program_waits(reading(0.0, 0));
    assert_eq!(governor.limit(), 24);
    governor.begin_anew(8);
    assert_eq!(governor.limit(), 24);
    governor.program_waits(reading(1.0, 8));
    assert_eq!(governor.limit(), MOST);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn no_mix_of_stages_takes_much_longer_than_under_any_fixed_number(
        wait in 0.001..0.1_f64, held in 0.0..0.01_f64, slots in 1..64_usize, served in 0.0..0.03_f64,
    ) {
        let stages = |_| vec![Stage::Held(held / 4.0), Stage::Served(served, slots), Stage::Wait(wait), Stage::Held(held)];
        let outcome = governed(1500, stages);
        let best = [8, 32, 128].into_iter().map(|n| fixed(n, 1500, stages)).fold(f64::INFINITY, f64::min);
        prop_assert!(outcome.seconds < 1.2 * best + 0.05, "{} of {best}", outcome.seconds);
        prop_assert!((3..=MOST).contains(&outcome.limit));
    }

    #[test]
    fn any_readings_leave_a_limit_between_least_and_most(
        steps in proptest::collection::vec((0.0..0.2_f64, 0..200_u64, 0..200_usize, 0..3_usize, any::<bool>()), 1..300)
    ) {
        let mut governor = Governor::new(3, MOST);
        let (mut seconds, mut ended) = (0.0, 0);
        for (pause, more, working, waiting, waits) in steps {
            seconds += pause;
            ended += more;
            let reading = Reading { seconds, cpu: 0.0, ended, working, waiting };
            if waits { governor.program_waits(reading); } else { governor.observe(reading); }
            prop_assert!((3..=MOST).contains(&governor.limit()));
        }
    }
}
