//! Workers that say what cannot be, at any time: nobody else is harmed, and they are ended.

use proptest::prelude::*;
use whichever_pool::Limits;
use whichever_pool::wire::{ReplyHead, ReplyKind, Span, table_bytes};

use super::sim::{Baggage, Sim};
use super::worker::Temper;
use super::world::{Item, Way, lock};

const MICROSECOND_NS: u64 = 1000;

/// What no worker says.
#[derive(Clone, Debug)]
enum Nonsense {
    /// No record at all.
    Noise(Vec<u8>),
    /// Results of tasks it does not have.
    Result { kind: ReplyKind, position: u64, count: u16 },
    /// Results that lie where nothing is.
    Outside(Span),
    /// It is ready, a second time or as nobody.
    Ready { pid: u64 },
    /// It passes over what was never sent.
    Revoked { position: u64, last: u64 },
    /// The ring itself is broken.
    Corrupt,
}

fn nonsense() -> impl Strategy<Value = Nonsense> {
    let kind = prop_oneof![
        Just(ReplyKind::Coded),
        Just(ReplyKind::Pickled),
        Just(ReplyKind::Raised),
        Just(ReplyKind::TooLarge),
        Just(ReplyKind::Items),
    ];
    let far = || prop_oneof![Just(0), 1_000_000..=u64::MAX, Just(u64::MAX)];
    let outside = prop_oneof![
        (1_u64 << 40..=u64::MAX, any::<u64>()),
        (any::<u64>(), (1_u64 << 40) + 1..=u64::MAX),
        Just((1 << 40, 1)),
    ];
    prop_oneof![
        (13_u8..=255, prop::collection::vec(any::<u8>(), 0..100))
            .prop_map(|(kind, rest)| Nonsense::Noise([vec![kind], rest].concat())),
        prop::collection::vec(any::<u8>(), 0..24).prop_map(Nonsense::Noise),
        (kind, far(), any::<u16>()).prop_map(|(kind, position, count)| Nonsense::Result {
            kind,
            position,
            count
        }),
        outside.prop_map(|(offset, len)| Nonsense::Outside(Span { offset, len })),
        prop_oneof![Just(0), Just(u64::MAX), Just(77)].prop_map(|pid| Nonsense::Ready { pid }),
        (far(), far()).prop_map(|(position, last)| Nonsense::Revoked { position, last }),
        Just(Nonsense::Corrupt),
    ]
}

/// As a record; None when the ring is what breaks.
fn record(nonsense: &Nonsense) -> Option<Vec<u8>> {
    Some(match nonsense {
        Nonsense::Noise(bytes) => bytes.clone(),
        Nonsense::Result { kind, position, count } => {
            let head = ReplyHead { count: *count, ..ReplyHead::plain(*kind, *position, 1) };
            [&head.to_bytes()[..], b"result"].concat()
        }
        Nonsense::Outside(span) => {
            let head = ReplyHead { buffers: 1, ..ReplyHead::plain(ReplyKind::Pickled, 1, 1) };
            [&head.to_bytes()[..], &table_bytes(&[*span])].concat()
        }
        Nonsense::Ready { pid } => ReplyHead::plain(ReplyKind::Ready, *pid, 0).to_bytes().to_vec(),
        Nonsense::Revoked { position, last } => {
            ReplyHead::plain(ReplyKind::Revoked, *position, *last).to_bytes().to_vec()
        }
        Nonsense::Corrupt => return None,
    })
}

/// Tasks of every kind, some of which may be run again.
fn fill(sim: &mut Sim) {
    let function = sim.crew.define([0; 8].into(), None, 1);
    for round in 0..4 {
        let retries = if round % 2 == 0 { 0 } else { 5 };
        let item = Item { retries, ..Sim::item(Way::Returns, 20 * MICROSECOND_NS) };
        sim.submit(function, item.clone(), 0, Baggage::Copied);
        sim.submit(0, item.clone(), 0, Baggage::LongBody);
        sim.submit_batch(function, vec![item; 30], 0);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_worker_that_raves_is_ended_and_the_others_go_on(
        nonsense in nonsense(),
        (workers, seed, steps, eager) in (1_usize..4, any::<u64>(), 0_usize..200, 1_u64..4),
    ) {
        let temper = Temper { ring: 50, eager, ..Temper::default() };
        let mut sim = Sim::new(Limits { workers, tasks_per_worker: None }, temper, seed);
        lock(&sim.world).may_rave = true;
        fill(&mut sim);
        for step in 0..steps {
            sim.work(step, 1);
            sim.pass(MICROSECOND_NS);
            sim.collect();
        }
        let Some((_, link)) = sim.workers.first().cloned() else { return Ok(()) };
        let was_ready = sim.crew.pids().contains(&1001);
        if let Some(record) = record(&nonsense) {
            link.worker().rave(record);
        } else {
            link.worker().is_corrupt = true;
        }
        sim.collect();
        let is_first_ready = !was_ready && matches!(nonsense, Nonsense::Ready { pid: 77 });
        prop_assert!(link.worker().is_dead || is_first_ready);
        sim.finish();
    }

    #[test]
    fn memory_that_a_worker_was_not_lent_is_not_its_to_give(
        offsets in prop::collection::vec((0_u64..64).prop_map(|page| page * 4096), 1..40),
        seed in any::<u64>(),
    ) {
        let temper = Temper { ring: 50, eager: 1, ..Temper::default() };
        let mut sim = Sim::new(Limits { workers: 2, tasks_per_worker: None }, temper, seed);
        sim.crew.hire_all();
        sim.supply();
        let own = sim.arena.allocate(5000).unwrap();
        let body: Vec<u8> = offsets.iter().flat_map(|offset| offset.to_le_bytes()).collect();
        let head = ReplyHead::plain(ReplyKind::Free, 0, 0).to_bytes();
        sim.workers[0].1.worker().rave([&head[..], &body].concat());
        // The other worker has the only task: what it was lent is in use, and checked, until it ends.
        sim.work(1, 5);
        sim.collect();
        sim.submit(0, Sim::item(Way::Returns, MICROSECOND_NS), 0, Baggage::Copied);
        sim.workers[0].1.worker().rave([&head[..], &body].concat());
        sim.run_until(|sim| !sim.crew.is_busy());
        prop_assert!(sim.arena.fill(&own, 0, b"still ours").is_ok());
        sim.arena.free(own.offset);
        sim.finish();
    }
}
