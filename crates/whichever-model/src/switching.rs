//! What the interpreter's switch interval costs a task, and what a shorter one would.
//!
//! A thread that wants the GIL lets the holder run for the switch interval before it asks for it. Beside a thread that
//! runs Python all the time, each return from a call that gave the GIL up for long enough to lose it costs one interval.
//! The price of a shorter one is a hand-over at the end of each.

use crate::{
    Costs, Engine, Forecast, Question,
    forecast::{Model, to_float},
    phrase::{percent, seconds},
};

/// What `sys.setswitchinterval` is advised to: below it, hand-overs become a tenth of the GIL's time.
const SHORTER: f64 = 0.0005;
/// The share of its time that a task must wait for other threads of the program for that to be worth a word.
const WAITS_MUCH: f64 = 0.1;
/// Voluntary context switches of one wait for the GIL, at most: to wait for the interval, then for the hand-over, and
/// those of the call before it.
const SWITCHES_OF_A_WAIT: f64 = 5.0;
/// A gain below this is none.
const GAIN: f64 = 1.05;

/// Say what a shorter switch interval would bring and cost, where it would help.
pub(crate) fn shorter_interval(question: &Question, model: &Model<'_>, first: &Forecast) -> Option<String> {
    if !question.costs.gil || question.costs.switch_interval < 2.0 * SHORTER {
        return None;
    }
    beside_a_holder(question).or_else(|| among_threads(question, model, first))
}

/// Seconds that a task waits for the GIL at the switch interval `then`, if it waits `waiting` at the interval `now`.
///
/// Each wait lasts one interval and the hand-over itself.
pub(crate) fn waiting_at(waiting: f64, now: f64, then: f64, costs: &Costs) -> f64 {
    let handover = costs.wake + costs.handoff;
    waiting * (then + handover) / (now + handover)
}

/// The share of the GIL's time that goes into handing it over, while two threads want it all the time.
pub(crate) fn price(interval: f64, costs: &Costs) -> f64 {
    let handover = costs.wake + costs.handoff;
    handover / (interval + handover)
}

/// Other threads of the program held the GIL while the task was sampled, each time until they were asked.
fn beside_a_holder(question: &Question) -> Option<String> {
    let (ledger, costs) = (&question.ledger, &question.costs);
    let (waiting, now) = (ledger.parts.waiting, costs.switch_interval);
    let long = waiting >= ledger.voluntary_switches * now / SWITCHES_OF_A_WAIT;
    if waiting < WAITS_MUCH * ledger.wall || !long {
        return None;
    }
    let then = waiting_at(waiting, now, SHORTER, costs);
    (waiting > GAIN * then).then(|| {
        format!(
            "Another thread of this program runs Python and lets the GIL go only when the switch interval is over \
             ({}): a task waits {} for it. {}, it would wait about {}{}",
            seconds(now),
            seconds(waiting),
            WITH,
            seconds(then),
            but(costs)
        )
    })
}

/// Threads are the verdict, and come back from waiting behind one that runs Python.
fn among_threads(question: &Question, model: &Model<'_>, first: &Forecast) -> Option<String> {
    if first.engine != Engine::Threads {
        return None;
    }
    let costs = Costs { switch_interval: SHORTER, ..question.costs.clone() };
    let changed = Question { costs, ..question.clone() };
    let now = model.forecast(Engine::Threads, first.workers).seconds;
    let then = Model::new(&changed).forecast(Engine::Threads, first.workers).seconds;
    (now > GAIN * then).then(|| {
        format!(
            "Threads that come back from waiting queue up to {} behind the one that runs Python. {}, all {} tasks \
             would take about {} instead of {}, by forecast{}",
            seconds(question.costs.switch_interval),
            WITH,
            to_float(question.tasks),
            seconds(first.known() * then / now),
            seconds(first.known()),
            but(&question.costs)
        )
    })
}

const WITH: &str = "With sys.setswitchinterval(0.0005)";

fn but(costs: &Costs) -> String {
    format!(
        "; the price is a hand-over each time, up to {} of the GIL's time.",
        percent(price(SHORTER, costs))
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Ledger, Parts, decide};

    /// Beside a holder, in seconds a task; the rest of its time it works.
    fn beside(waiting: f64, waits: f64) -> Question {
        let parts = Parts { held: 0.01, released: 0.03, waiting, ..Parts::default() };
        let wall = parts.total();
        let ledger = Ledger { wall, parts, tasks: 4, voluntary_switches: 2.0 * waits, ..Ledger::default() };
        Question { ledger, task_seconds: vec![wall - waiting; 4], tasks: 4, ..Question::default() }
    }

    fn advised(question: &Question) -> Option<String> {
        decide(question).advice.into_iter().find(|sentence| sentence.contains("setswitchinterval"))
    }

    #[test]
    fn a_wait_is_as_long_as_the_interval_and_the_hand_over() {
        let costs = Costs { wake: 30e-6, handoff: 5e-6, ..Costs::default() };
        // Measured beside a busy thread: 5.1 ms each at 5 ms, 0.59 ms at 0.5 ms, for releases of 100 us and more.
        let then = waiting_at(5.1, 0.005, 0.0005, &costs);
        assert!((0.45..0.65).contains(&then), "{then}");
        assert!((waiting_at(1.0, 0.005, 0.005, &costs) - 1.0).abs() < 1e-12);
    }

    #[test]
    fn the_price_of_a_shorter_interval_is_more_hand_overs() {
        let costs = Costs::default();
        assert!(price(0.005, &costs) < 0.01);
        assert!((0.05..0.1).contains(&price(SHORTER, &costs)));
    }

    #[test]
    fn a_task_beside_a_holder_is_told_what_it_would_wait() {
        let said = advised(&beside(0.5, 100.0)).unwrap();
        assert!(said.contains("waits 500 ms for it") && said.contains("about 53 ms"), "{said}");
        assert!(said.contains("up to 7 % of the GIL's time"), "{said}");
    }

    #[test]
    fn threads_that_queue_behind_python_are_told_what_they_would_take() {
        let mut parts = Parts { held: 0.06, ..Parts::default() };
        parts.blocked.insert(crate::BlockedKind::Network, 0.06);
        let ledger = Ledger { wall: 0.12, parts, tasks: 10, releases: 20.0, ..Ledger::default() };
        let mut question =
            Question { ledger, task_seconds: vec![0.12; 10], tasks: 100, ..Question::default() };
        question.workers = Some(2);
        (question.costs.cores, question.costs.parallel) = (4.0, 4.0);
        for engine in [Engine::Processes, Engine::Interpreters] {
            question.excluded.insert(engine, "writes a global".to_owned());
        }
        let said = advised(&question).unwrap();
        assert!(said.contains("queue up to 5.0 ms behind the one that runs Python"), "{said}");
        question.costs.switch_interval = SHORTER;
        assert_eq!(advised(&question), None);
    }

    #[test]
    fn many_short_waits_are_not_the_intervals_doing() {
        assert_eq!(advised(&beside(0.5, 5000.0)), None);
    }

    #[test]
    fn nothing_is_said_where_it_would_not_help() {
        assert_eq!(advised(&beside(0.001, 1.0)), None);
        let mut short = beside(0.5, 100.0);
        short.costs.switch_interval = SHORTER;
        assert_eq!(advised(&short), None);
        let mut free = beside(0.5, 100.0);
        free.costs.gil = false;
        assert_eq!(advised(&free), None);
    }
}
