//! Numbers as a person would say them, and the few figures that reasons and advice share.

use crate::{BlockedKind, Engine, Question, forecast::Model};

/// CPU of inner threads, over wall time, from which a task counts as running on several cores by itself.
pub(crate) const INNER_THREADS: f64 = 0.20;

pub(crate) fn crossing_seconds(question: &Question) -> f64 {
    let cost = question.costs.engines.get(&Engine::Processes).cloned().unwrap_or_default();
    cost.payload_caller(&question.payload) + cost.payload_worker(&question.payload)
}

pub(crate) fn inner_share(model: &Model<'_>) -> f64 {
    model.task.inner_cpu / model.task.wall().max(f64::MIN_POSITIVE)
}

/// The kinds of waiting that make up the blocked time, the largest first: `network 61 %, sleep 30 %`.
pub(crate) fn kinds(question: &Question) -> String {
    let parts = &question.ledger.parts;
    let total = parts.blocked_total();
    let mut kinds: Vec<(&BlockedKind, &f64)> =
        parts.blocked.iter().filter(|(_, part)| **part > 0.1 * total).collect();
    kinds.sort_by(|a, b| b.1.total_cmp(a.1));
    match kinds.as_slice() {
        [] => "off-CPU".to_owned(),
        [(kind, _)] => kind.name().to_owned(),
        many => {
            let named: Vec<String> = many
                .iter()
                .map(|(kind, part)| format!("{} {}", kind.name(), percent(**part / total)))
                .collect();
            named.join(", ")
        }
    }
}

pub(crate) fn percent(share: f64) -> String {
    format!("{:.0} %", share * 100.0)
}

pub(crate) fn times(factor: f64) -> String {
    if factor < 10.0 { format!("{factor:.1} times") } else { format!("{factor:.0} times") }
}

pub(crate) fn trim(number: f64) -> String {
    if (number - number.round()).abs() < 0.05 { format!("{number:.0}") } else { format!("{number:.1}") }
}

/// A length of time in the unit a person would use.
pub(crate) fn seconds(value: f64) -> String {
    match value {
        v if v < 1e-6 => format!("{:.0} ns", v * 1e9),
        v if v < 1e-5 => format!("{:.1} µs", v * 1e6),
        v if v < 1e-3 => format!("{:.0} µs", v * 1e6),
        v if v < 1e-2 => format!("{:.1} ms", v * 1e3),
        v if v < 1.0 => format!("{:.0} ms", v * 1e3),
        v if v < 10.0 => format!("{v:.2} s"),
        v => format!("{v:.0} s"),
    }
}

pub(crate) fn bytes(value: f64) -> String {
    match value {
        v if v < 1e3 => format!("{v:.0} B"),
        v if v < 1e6 => format!("{:.0} kB", v / 1e3),
        v if v < 1e9 => format!("{:.1} MB", v / 1e6),
        v => format!("{:.1} GB", v / 1e9),
    }
}
