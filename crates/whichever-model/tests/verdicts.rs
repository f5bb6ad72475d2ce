//! What is chosen, what is tried first, and what is said about it.

use std::collections::BTreeMap;

use proptest::prelude::*;
use whichever_model::{
    Answer, BlockedKind, Costs, Engine, EngineCost, Ledger, Limit, Measurement, Parts, Payload, Question,
    Trial, decide,
};

fn costs() -> Costs {
    let engines = BTreeMap::from([
        (Engine::Serial, EngineCost::default()),
        (
            Engine::Threads,
            EngineCost { start: 1e-4, start_worker: 5e-5, task: 2e-5, ..EngineCost::default() },
        ),
        (Engine::Async, EngineCost { start: 1e-3, task: 3e-5, ..EngineCost::default() }),
        (
            Engine::Processes,
            EngineCost {
                start: 0.05,
                start_worker: 0.01,
                message: 2e-4,
                task: 5e-6,
                byte_in: 1e-9,
                byte_out: 1e-9,
                ..EngineCost::default()
            },
        ),
    ]);
    Costs { cores: 2.0, parallel: 1.85, parallel_memory: 1.6, engines, ..Costs::default() }
}

/// A task of `held`, `released` and `network` seconds, sampled ten times out of `tasks`.
fn question(held: f64, released: f64, network: f64, tasks: u64) -> Question {
    let wall = held + released + network;
    let parts = Parts {
        held,
        released,
        blocked: BTreeMap::from([(BlockedKind::Network, network)]),
        ..Parts::default()
    };
    let ledger =
        Ledger { tasks: 10, samples: 500, gil: true, wall, cpu: held + released, parts, ..Ledger::default() };
    let excluded = BTreeMap::from([(Engine::Async, "not a coroutine function".to_owned())]);
    Question { ledger, task_seconds: vec![wall; 10], costs: costs(), tasks, excluded, ..Question::default() }
}

fn said(answer: &Answer) -> String {
    answer.reasons.iter().chain(&answer.advice).fold(String::new(), |text, line| text + line + "\n")
}

#[test]
fn many_cpu_heavy_tasks_that_hold_the_gil_go_to_processes() {
    let answer = decide(&question(0.05, 0.0, 0.0, 200));
    assert_eq!((answer.engine, answer.workers), (Engine::Processes, 2));
    assert_eq!(answer.forecasts[0].limit, Limit::Cores);
    assert!(answer.speedup > 1.6 && answer.speedup <= 1.85);
    assert!(said(&answer).contains("take turns"));
    assert!(said(&answer).contains("free-threaded"));
}

#[test]
fn native_code_without_the_gil_goes_to_threads() {
    let answer = decide(&question(0.0005, 0.0495, 0.0, 200));
    assert_eq!(answer.engine, Engine::Threads);
    assert!(said(&answer).contains("native code without the GIL"));
}

#[test]
fn a_hundred_downloads_go_to_many_threads() {
    let answer = decide(&question(0.0005, 0.0, 0.05, 100));
    assert_eq!(answer.engine, Engine::Threads);
    assert!(answer.workers >= 32, "{}", answer.workers);
    assert!(said(&answer).contains("network"));
}

#[test]
fn coroutines_that_wait_go_to_the_event_loop() {
    let mut asked = question(0.0002, 0.0, 0.0, 1000);
    asked.coroutine = true;
    asked.excluded = BTreeMap::from([
        (Engine::Threads, "a coroutine function".to_owned()),
        (Engine::Processes, "a coroutine function".to_owned()),
    ]);
    asked.ledger.parts.blocked = BTreeMap::from([(BlockedKind::Poll, 0.02)]);
    asked.ledger.wall = 0.0202;
    asked.task_seconds = vec![0.0202; 10];
    let answer = decide(&asked);
    assert_eq!(answer.engine, Engine::Async);
    assert!(answer.speedup > 20.0);
}

#[test]
fn a_blocking_call_in_a_coroutine_is_named() {
    let mut asked = question(0.0002, 0.0, 0.0, 1000);
    asked.coroutine = true;
    asked.ledger.parts.blocked = BTreeMap::from([(BlockedKind::Sleep, 0.02)]);
    asked.ledger.wall = 0.0202;
    asked.task_seconds = vec![0.0202; 10];
    asked.loop_blockers = vec!["sleep in fetch (app.py:12)".to_owned()];
    let answer = decide(&asked);
    assert!(said(&answer).contains("sleep in fetch (app.py:12)"), "{}", said(&answer));
}

#[test]
fn ten_million_ints_in_parts_stay_in_the_loop() {
    let mut asked = question(0.005, 0.0, 0.0, 20);
    asked.payload = Payload { in_bytes: 1.4e6, pickle_in: 0.008, unpickle_in: 0.01, ..Payload::default() };
    let answer = decide(&asked);
    assert_eq!(answer.engine, Engine::Serial);
    assert!(said(&answer).contains("payload"), "{}", said(&answer));
    assert!(said(&answer).contains("shared memory"), "{}", said(&answer));
}

#[test]
fn many_short_releases_keep_a_task_in_the_loop() {
    let mut asked = question(10e-6, 15e-6, 0.0, 3000);
    asked.ledger.releases = 5.0;
    let answer = decide(&asked);
    assert_eq!(answer.engine, Engine::Serial);
    assert!(said(&answer).contains("too short for another thread"), "{}", said(&answer));
}

#[test]
fn child_processes_are_bound_by_the_cores_like_anyone() {
    let mut asked = question(0.0005, 0.0002, 0.0, 40);
    asked.ledger.parts.blocked = BTreeMap::from([(BlockedKind::Child, 0.045)]);
    asked.ledger.child_cpu = 0.044;
    asked.ledger.wall = 0.0457;
    asked.task_seconds = vec![0.0457; 10];
    let answer = decide(&asked);
    assert_eq!(answer.forecasts[0].limit, Limit::Child);
    assert!(answer.speedup < 2.0, "{}", answer.speedup);
}

#[test]
fn a_library_that_uses_all_cores_is_left_alone() {
    let mut asked = question(0.001, 0.049, 0.0, 40);
    asked.ledger.inner_cpu = 0.048;
    let answer = decide(&asked);
    assert_eq!(answer.engine, Engine::Serial);
    assert!(said(&answer).contains("OMP_NUM_THREADS"), "{}", said(&answer));
}

#[test]
fn a_tie_goes_to_the_simpler_engine() {
    let mut asked = question(0.001, 0.049, 0.0, 400);
    asked.trials = vec![
        Trial { engine: Engine::Threads, workers: 2, tasks: 20, seconds: 0.52, open_seconds: 0.001 },
        Trial { engine: Engine::Processes, workers: 2, tasks: 20, seconds: 0.50, open_seconds: 0.06 },
    ];
    let answer = decide(&asked);
    assert_eq!(answer.engine, Engine::Threads);
    assert!(answer.contenders.is_empty());
}

#[test]
fn engines_too_close_to_call_are_tried_and_the_trial_counts() {
    let asked = question(0.010, 0.040, 0.0, 400);
    let first = decide(&asked);
    let open: Vec<Engine> = first.contenders.iter().map(|contender| contender.engine).collect();
    assert!(open.contains(&Engine::Threads) && open.contains(&Engine::Processes), "{open:?}");
    let slow = Trial { engine: Engine::Threads, workers: 2, tasks: 20, seconds: 0.9, open_seconds: 0.001 };
    let fast = Trial { engine: Engine::Processes, workers: 2, tasks: 20, seconds: 0.53, open_seconds: 0.06 };
    let answer = decide(&Question { trials: vec![slow, fast], ..asked });
    assert_eq!(answer.engine, Engine::Processes);
}

#[test]
fn a_server_on_the_same_cores_holds_every_engine_up_once_a_trial_met_it() {
    let mut asked = question(0.0005, 0.0, 0.004, 400);
    asked.others_busy = 0.9;
    let first = decide(&asked);
    assert_eq!(first.contenders[0].engine, Engine::Threads, "unsure, so tried without a rival");
    let workers = first.contenders[0].workers;
    asked.trials =
        vec![Trial { engine: Engine::Threads, workers, tasks: 128, seconds: 0.30, open_seconds: 0.001 }];
    let answer = decide(&asked);
    assert_eq!(answer.engine, Engine::Threads, "{:?}", answer.forecasts);
    assert_eq!(answer.forecasts[0].limit, Limit::Cores);
    assert!(answer.speedup < 2.5 && said(&answer).contains("the same 2 cores"), "{}", said(&answer));
}

#[test]
fn threads_are_not_tried_on_a_task_that_never_gives_the_gil_up() {
    let answer = decide(&question(0.05, 0.0, 0.0, 20));
    assert!(answer.contenders.iter().all(|contender| contender.engine != Engine::Threads));
}

#[test]
fn measurements_beat_forecasts() {
    let mut asked = question(0.05, 0.0, 0.0, 200);
    let workers = decide(&asked).forecasts.iter().find(|f| f.engine == Engine::Threads).unwrap().workers;
    asked.measured = vec![
        Measurement { engine: Engine::Serial, workers: 1, seconds: 10.0 },
        Measurement { engine: Engine::Threads, workers, seconds: 4.0 },
        Measurement { engine: Engine::Processes, workers: 2, seconds: 9.0 },
    ];
    let answer = decide(&asked);
    assert_eq!(answer.engine, Engine::Threads);
    assert!((answer.speedup - 2.5).abs() < 1e-9);
}

#[test]
fn an_excluded_engine_has_no_forecast() {
    let mut asked = question(0.05, 0.0, 0.0, 200);
    asked.excluded.insert(Engine::Processes, "writes the global `cache`".to_owned());
    assert!(decide(&asked).forecasts.iter().all(|f| f.engine != Engine::Processes));
}

#[test]
fn a_short_job_is_not_worth_an_engine() {
    let answer = decide(&question(20e-6, 0.0, 0.0, 100));
    assert_eq!(answer.engine, Engine::Serial);
    assert!(said(&answer).contains("do not bother"));
}

#[test]
fn a_busy_machine_is_said_to_be_busy() {
    let mut asked = question(0.05, 0.0, 0.0, 200);
    asked.ledger.queue_share = 0.4;
    assert!(decide(&asked).reasons[0].contains("too busy to tell"));
}

proptest! {
    #[test]
    fn every_question_has_a_finite_answer(
        parts in (0.0..2.0_f64, 0.0..2.0_f64, 0.0..2.0_f64), tasks in 1_u64..100_000, bytes in 0.0..1e9_f64,
        releases in 0.0..1e5_f64, cores in 0.1..64.0_f64, sampled in 1_usize..20,
    ) {
        let mut asked = question(parts.0, parts.1, parts.2, tasks);
        asked.task_seconds.truncate(sampled);
        asked.payload.in_bytes = bytes;
        asked.ledger.releases = releases;
        asked.costs.cores = cores;
        asked.costs.parallel = cores.max(1.0) * 0.9;
        let answer = decide(&asked);
        prop_assert!(!answer.reasons.is_empty());
        for forecast in &answer.forecasts {
            prop_assert!(forecast.seconds.is_finite() && forecast.seconds >= 0.0, "{forecast:?}");
            prop_assert!(forecast.low <= forecast.seconds && forecast.seconds <= forecast.high, "{forecast:?}");
        }
        let best = answer.forecasts.iter().map(|f| f.seconds).fold(f64::INFINITY, f64::min);
        prop_assert!(answer.forecasts[0].seconds <= best * 1.09 + 1e-12);
    }
}
