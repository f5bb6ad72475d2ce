//! What there is to know of every task of a test: how it is to go, and how it went. Whatever must never happen panics here.

use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard};

use whichever_pool::{Ended, Ticket, Why};

/// A small generator of numbers, so that a failing case is its seed and its steps.
#[derive(Clone, Debug)]
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    /// A number below `sides`.
    pub(crate) fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % sides
    }

    pub(crate) fn one_in(&mut self, sides: u64) -> bool {
        sides > 0 && self.roll(sides) == 0
    }
}

/// How a task goes when nobody stops it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    Returns,
    /// Returns something that lies in the worker's arena.
    ReturnsLarge,
    Raises,
    DoesNotLoad,
    IsTooLarge,
    /// Takes its worker along, the first time.
    Kills,
    /// Never ends, and lets itself be interrupted or not.
    Hangs {
        stubborn: bool,
    },
}

#[derive(Clone, Debug)]
pub(crate) struct Item {
    pub(crate) way: Way,
    pub(crate) length_ns: u64,
    pub(crate) retries: u32,
    pub(crate) has_timeout: bool,
    pub(crate) starts: u32,
    /// Runs that ended with their worker.
    pub(crate) deaths: u32,
    /// Times that a worker died when the desk named the item already, and it had not begun.
    pub(crate) vain: u32,
    /// What it left was handed to the ring or the tray.
    pub(crate) finished: bool,
    pub(crate) settled: bool,
    pub(crate) cancelled: bool,
}

#[derive(Default)]
pub(crate) struct World {
    pub(crate) now_ns: u64,
    pub(crate) items: Vec<Item>,
    /// Items in the order of their starts, with the worker.
    pub(crate) started: Vec<(u64, u32)>,
    /// Where the task of a ticket is, by its first item.
    pub(crate) places: Vec<Option<(u64, u64)>>,
    /// Cancelled by somebody who finds no place for it yet, when it is just about to get one.
    pub(crate) cancelled_late: Option<u32>,
    /// Somebody asked that what waits be dropped, that all be stopped, that the pool break.
    pub(crate) may_drop: bool,
    pub(crate) may_stop: bool,
    pub(crate) may_break: bool,
    /// A worker may say what cannot be: what it held counts as lost then, whatever became of it.
    pub(crate) may_rave: bool,
    /// Items settled as lost with their worker.
    pub(crate) died: u64,
}

pub(crate) type Shared = Arc<Mutex<World>>;

pub(crate) fn lock(world: &Shared) -> MutexGuard<'_, World> {
    world.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

impl World {
    pub(crate) fn start(&mut self, token: u64, id: u32) {
        let item = &mut self.items[id as usize];
        assert!(!item.settled, "item {id} starts though it is settled");
        if !self.may_rave {
            assert!(!item.finished, "item {id} starts though its result was sent");
            assert!(item.starts == item.deaths, "item {id} starts twice");
        }
        assert!(item.starts <= item.retries, "item {id} starts more often than it may");
        item.starts += 1;
        self.started.push((token, id));
    }

    /// The worker has died while this item ran.
    pub(crate) fn lose(&mut self, id: u32) {
        self.items[id as usize].deaths += 1;
    }

    /// The worker has died when the desk named this item.
    pub(crate) fn lose_unbegun(&mut self, id: u32) {
        self.items[id as usize].vain += 1;
    }

    pub(crate) fn finish(&mut self, id: u32) {
        self.items[id as usize].finished = true;
    }

    /// What a task printed is delivered.
    pub(crate) fn hear(&self, text: &[u8]) {
        let id = u32::from_le_bytes(text.try_into().expect("a task says its number"));
        let item = &self.items[id as usize];
        let early = item.deaths + item.vain > 0 || item.cancelled || self.may_stop || self.may_break;
        assert!(!item.settled || early, "item {id} is settled before what it said is delivered");
    }

    fn check(&mut self, id: u32, ended: &Ended) {
        let item = &self.items[id as usize];
        let ran = item.starts > item.deaths;
        match ended {
            Ended::Items(_) | Ended::Scalar(_) | Ended::Value(_) => {
                assert!(ran && item.finished, "item {id} returned out of nothing");
            }
            Ended::Raised(_) => assert!(ran && item.finished, "item {id} raised out of nothing"),
            Ended::Unloadable(_) => assert!(item.finished && item.way == Way::DoesNotLoad),
            Ended::TooLarge(_) => assert_eq!((item.finished, item.way), (item.starts > 0, Way::IsTooLarge)),
            Ended::Died(_) if self.may_rave => {}
            Ended::Died(_) => {
                assert!(!item.finished, "item {id}: its result was sent, and lost");
                let deaths = item.deaths + item.vain;
                assert!(deaths > 0 && item.deaths == item.starts, "item {id} died without running");
                assert!(deaths > item.retries || item.cancelled, "item {id} had retries left");
                self.died += 1;
            }
            Ended::Stopped(Why::TimedOut) => assert!(item.has_timeout, "item {id} has no timeout"),
            Ended::Stopped(Why::Cancelled) => {
                assert!(item.cancelled || self.may_stop, "nobody stopped item {id}");
            }
            Ended::Dropped => {
                assert!(item.cancelled || self.may_drop, "nobody dropped item {id}");
                assert!(!item.finished && item.starts == item.deaths, "item {id} is dropped and runs");
            }
            Ended::Broken(_) => assert!(self.may_break, "nothing broke for item {id}"),
            Ended::Unsent(_) => panic!("every task can be sent"),
        }
    }
}

/// Who waits for the items from `first` on.
#[derive(Clone)]
pub(crate) struct Slip {
    pub(crate) world: Shared,
    pub(crate) first: u32,
}

impl Ticket for Slip {
    fn settle(&self, items: Range<u32>, ended: Ended) -> bool {
        let mut world = lock(&self.world);
        assert!(!items.is_empty(), "nothing is settled");
        if let Ended::Items(codes) = &ended {
            let expected: Vec<u8> =
                items.clone().flat_map(|item| (self.first + item).to_le_bytes()).collect();
            assert_eq!(codes, &expected, "results of other items");
        }
        if let Ended::Value(cargo) | Ended::Raised(cargo) = &ended {
            assert_eq!(cargo.body, (self.first + items.start).to_le_bytes(), "the result of another item");
        }
        for item in items.clone() {
            let id = self.first + item;
            assert!(!world.items[id as usize].settled, "item {id} is settled twice");
            world.check(id, &ended);
            world.items[id as usize].settled = true;
        }
        self.first.is_multiple_of(3)
    }

    fn is_cancelled(&self) -> bool {
        lock(&self.world).items[self.first as usize].cancelled
    }

    fn place(&self, at: Option<(u64, u64)>) {
        let mut world = lock(&self.world);
        if at.is_some() && world.cancelled_late == Some(self.first) {
            world.items[self.first as usize].cancelled = true;
        }
        world.places[self.first as usize] = at;
    }
}
