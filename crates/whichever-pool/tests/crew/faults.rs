//! Random tasks, faults and user's doings in random order.

use proptest::prelude::*;
use whichever_pool::Limits;

use super::sim::{Baggage, Sim};
use super::worker::Temper;
use super::world::{Item, Way, lock};

/// What happens to a pool.
#[derive(Clone, Debug)]
enum Deed {
    Submit { function: usize, item: Plan, baggage: Baggage },
    Batch { function: usize, items: Vec<Plan> },
    Work { worker: usize, steps: usize },
    Collect,
    Load,
    Tell,
    Supervise,
    Pass { length_ns: u64 },
    Bury,
    Cancel { nth: usize },
    GiveUp { nth: usize },
    Kill { worker: usize },
    DropPending,
    StopAll,
    Unshare,
    BreakDown,
    Forget,
}

#[derive(Clone, Copy, Debug)]
struct Plan {
    way: Way,
    length_ns: u64,
    retries: u32,
    timeout_ns: u64,
}

fn plan() -> impl Strategy<Value = Plan> {
    let way = prop_oneof![
        12 => Just(Way::Returns),
        2 => Just(Way::ReturnsLarge),
        2 => Just(Way::Raises),
        1 => Just(Way::DoesNotLoad),
        1 => Just(Way::IsTooLarge),
        1 => Just(Way::Kills),
        1 => any::<bool>().prop_map(|stubborn| Way::Hangs { stubborn }),
    ];
    let length_ns = prop_oneof![3 => Just(0), 3 => 1_u64..100_000, 2 => 100_000_u64..400_000_000];
    let timeout_ns = prop_oneof![6 => Just(0), 1 => 1_u64..1_000_000_000];
    (way, length_ns, 0_u32..3, timeout_ns).prop_map(|(way, length_ns, retries, timeout_ns)| match way {
        Way::Hangs { .. } => Plan { way, length_ns: u64::MAX, retries, timeout_ns: timeout_ns.max(5_000) },
        _ => Plan { way, length_ns, retries, timeout_ns },
    })
}

fn deed() -> impl Strategy<Value = Deed> {
    let baggage = prop_oneof![
        4 => Just(Baggage::None),
        1 => Just(Baggage::LongBody),
        2 => Just(Baggage::Copied),
        2 => Just(Baggage::Shared),
    ];
    prop_oneof![
        8 => (0_usize..4, plan(), baggage)
            .prop_map(|(function, item, baggage)| Deed::Submit { function, item, baggage }),
        2 => (0_usize..3, prop::collection::vec(plan(), 1..40))
            .prop_map(|(function, items)| Deed::Batch { function, items }),
        1 => (0_usize..3, plan(), 40_usize..300)
            .prop_map(|(function, item, count)| Deed::Batch { function, items: vec![item; count] }),
        10 => (0_usize..4, 1_usize..30).prop_map(|(worker, steps)| Deed::Work { worker, steps }),
        6 => Just(Deed::Collect),
        3 => Just(Deed::Load),
        3 => Just(Deed::Tell),
        4 => Just(Deed::Supervise),
        4 => (1_u64..10_000_000).prop_map(|length_ns| Deed::Pass { length_ns }),
        3 => Just(Deed::Bury),
        3 => (0_usize..1000).prop_map(|nth| Deed::Cancel { nth }),
        2 => (0_usize..1000).prop_map(|nth| Deed::GiveUp { nth }),
        1 => (0_usize..4).prop_map(|worker| Deed::Kill { worker }),
        1 => Just(Deed::DropPending),
        1 => Just(Deed::StopAll),
        1 => Just(Deed::Unshare),
        1 => Just(Deed::Forget),
    ]
}

#[derive(Clone, Debug)]
struct Scene {
    workers: usize,
    tasks_per_worker: Option<u64>,
    temper: Temper,
    hires_fail: u64,
    seed: u64,
}

fn scene() -> impl Strategy<Value = Scene> {
    let dies = prop_oneof![2 => Just(0), 1 => Just(300), 1 => Just(40)];
    let tasks_per_worker = prop_oneof![3 => Just(None), 1 => (1_u64..20).prop_map(Some)];
    let temper = (dies, prop_oneof![2 => Just(0), 1 => Just(10)], 2_usize..40, 1_u64..6).prop_map(
        |(dies, recycles, ring, eager)| Temper {
            dies,
            recycles,
            talks: recycles,
            ring,
            eager,
            steady: eager == 5,
        },
    );
    (1_usize..4, tasks_per_worker, temper, prop_oneof![3 => Just(0), 1 => Just(3)], any::<u64>()).prop_map(
        |(workers, tasks_per_worker, temper, hires_fail, seed)| Scene {
            workers,
            tasks_per_worker,
            temper,
            hires_fail,
            seed,
        },
    )
}

fn item_of(plan: Plan) -> Item {
    Item { retries: plan.retries, ..Sim::item(plan.way, plan.length_ns) }
}

struct Stage {
    sim: Sim,
    functions: Vec<u32>,
    singles: Vec<u32>,
    batches: Vec<(u32, u32)>,
}

impl Stage {
    fn new(scene: &Scene) -> Self {
        let limits = Limits { workers: scene.workers, tasks_per_worker: scene.tasks_per_worker };
        let mut sim = Sim::new(limits, scene.temper, scene.seed);
        sim.hires_fail = scene.hires_fail;
        (sim.loads_slowly, sim.tells_slowly) = (true, true);
        let mut functions: Vec<u32> =
            [1, 1, 7].map(|at_least| sim.crew.define([0; 8].into(), None, at_least)).into();
        functions.push(0);
        Self { sim, functions, singles: Vec::new(), batches: Vec::new() }
    }

    fn play(&mut self, deed: Deed) {
        let sim = &mut self.sim;
        match deed {
            Deed::Submit { function, item, baggage } => {
                let function = self.functions[function];
                self.singles.push(sim.submit(function, item_of(item), item.timeout_ns, baggage));
            }
            Deed::Batch { function, items } => {
                let (function, timeout_ns) = (self.functions[function], batch_timeout(&items));
                let count = items.len() as u32;
                let first = sim.submit_batch(function, items.into_iter().map(item_of).collect(), timeout_ns);
                self.batches.push((first, count));
            }
            Deed::Work { worker, steps } => sim.work(worker, steps),
            Deed::Collect => sim.collect(),
            Deed::Load => {
                sim.load();
                sim.supply();
            }
            Deed::Tell => {
                sim.tell();
                sim.supply();
            }
            Deed::Supervise => drop(sim.supervise()),
            Deed::Pass { length_ns } => sim.pass(length_ns),
            Deed::Bury => sim.bury(),
            Deed::Cancel { nth } if !self.singles.is_empty() => {
                let id = self.singles[nth % self.singles.len()];
                if !lock(&sim.world).items[id as usize].settled {
                    sim.cancel(id);
                }
            }
            Deed::GiveUp { nth } if !self.batches.is_empty() => {
                let (first, count) = self.batches[nth % self.batches.len()];
                sim.cancel_batch(first, count);
            }
            Deed::Cancel { .. } | Deed::GiveUp { .. } => {}
            Deed::Kill { worker } => {
                if let Some((_, link)) = sim.workers.get(worker) {
                    link.worker().die(Some(9));
                }
            }
            Deed::DropPending => sim.drop_pending(),
            Deed::StopAll => sim.stop_all(),
            Deed::Unshare => sim.unshare(),
            Deed::BreakDown => sim.break_down(),
            Deed::Forget => {
                let number = sim.crew.define([1; 8].into(), None, 1);
                let outdated = std::mem::replace(&mut self.functions[1], number);
                sim.crew.forget(outdated);
            }
        }
    }
}

/// One timeout for all; what would hang without one has one.
fn batch_timeout(items: &[Plan]) -> u64 {
    let hangs = items.iter().any(|item| matches!(item.way, Way::Hangs { .. }));
    if hangs { items.iter().map(|item| item.timeout_ns).max().unwrap_or(0) } else { items[0].timeout_ns }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_task_is_settled_once_whatever_happens(
        scene in scene(),
        deeds in prop::collection::vec(deed(), 1..120),
    ) {
        let mut stage = Stage::new(&scene);
        deeds.into_iter().for_each(|deed| stage.play(deed));
        stage.sim.finish();
    }

    #[test]
    fn a_pool_that_breaks_settles_all_and_goes(
        scene in scene(),
        before in prop::collection::vec(deed(), 1..60),
        after in prop::collection::vec(deed(), 0..20),
    ) {
        let mut stage = Stage::new(&scene);
        before.into_iter().for_each(|deed| stage.play(deed));
        stage.play(Deed::BreakDown);
        after.into_iter().for_each(|deed| stage.play(deed));
        stage.sim.finish();
    }
}
