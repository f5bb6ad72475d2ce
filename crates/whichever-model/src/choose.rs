//! From forecasts to a verdict: which engine, whether a trial is needed first, whether more samples would help.

use std::collections::BTreeSet;

use crate::{
    Answer, Contender, Engine, Forecast, Limit, Question, advice,
    correct::{corrected, lifted},
    forecast::{Model, ratio},
    reasons,
};

/// Within this of the best the simpler engine wins.
pub const TIE: f64 = 1.05;
/// Engines expected within this of the best are too close for the model alone.
pub const CLOSE: f64 = 1.35;
/// A forecast whose upper end is this many times the expectation is tried even without a rival.
const UNSURE: f64 = 1.5;
/// So is a speed-up from here on: what the tasks wait for may not keep up with so many at once.
const SURPRISING: f64 = 4.0;
/// A speed-up up to here is none.
const NO_GAIN: f64 = 1.02;
/// Of one engine's worker counts, the smallest within this of its best.
const FEWER_WORKERS: f64 = 1.03;
/// Sampling error of the mean task and of the held share below which forecasts hardly move.
const STABLE: f64 = 0.04;
/// Fewest samples of the thread's state for a split to be believed.
const STABLE_SAMPLES: u64 = 100;
/// Fewest tasks for a spread to be believed, and for a mixture of tasks (some busy, some asleep) to show.
const STABLE_TASKS: u64 = 8;

/// Judges: forecasts for every engine that is not excluded, the choice, and what is still needed to be sure.
///
/// `contenders` is empty once no further trial could change the choice.
#[must_use]
pub fn decide(question: &Question) -> Answer {
    let model = Model::new(question);
    let mut forecasts: Vec<Forecast> = Engine::ALL
        .into_iter()
        .filter(|engine| exists(question, *engine))
        .flat_map(|engine| of_engine(&model, engine))
        .collect();
    let tried: Vec<Forecast> =
        forecasts.iter().filter(|forecast| forecast.trial.is_some()).cloned().collect();
    forecasts =
        forecasts.into_iter().map(|forecast| measured(question, lifted(&model, forecast, &tried))).collect();
    let serial = forecasts.iter().find(|forecast| forecast.engine == Engine::Serial);
    let serial = serial.map_or_else(|| model.serial(), Forecast::known);
    for forecast in &mut forecasts {
        forecast.speedup = ratio(serial, forecast.known());
    }
    forecasts.sort_by(|a, b| a.known().total_cmp(&b.known()));
    let chosen = choose(&forecasts, question);
    let first = forecasts.remove(chosen);
    let contenders = contenders(question, &first, &forecasts);
    forecasts.insert(0, first);
    Answer {
        engine: forecasts[0].engine,
        workers: forecasts[0].workers,
        speedup: forecasts[0].speedup,
        contenders,
        stable: stable(question, &model),
        sampling_error: model.sampling_error(),
        reasons: reasons::reasons(question, &model, &forecasts),
        advice: advice::advice(question, &model, &forecasts),
        forecasts,
    }
}

/// Whether an engine can run these tasks here. Serial always can: the others are compared with it.
fn exists(question: &Question, engine: Engine) -> bool {
    let asked = question.engines.is_empty() || question.engines.contains(&engine);
    let here = question.costs.engines.contains_key(&engine) && !question.excluded.contains_key(&engine);
    engine == Engine::Serial || (asked && here)
}

/// All worker counts of one engine. A trial at one count corrects the others by the same factor.
fn of_engine(model: &Model<'_>, engine: Engine) -> Vec<Forecast> {
    let plain: Vec<Forecast> =
        model.worker_counts(engine).into_iter().map(|workers| model.forecast(engine, workers)).collect();
    let corrected: Vec<Forecast> = plain.iter().map(|forecast| corrected(model, forecast.clone())).collect();
    let factor = corrected
        .iter()
        .zip(&plain)
        .find(|(after, _)| after.trial.is_some())
        .map(|(after, before)| after.seconds / before.seconds.max(f64::MIN_POSITIVE));
    let Some(factor) = factor else { return plain };
    let shift = |forecast: Forecast| match forecast.trial {
        Some(_) => forecast,
        None => Forecast {
            seconds: forecast.seconds * factor,
            low: forecast.low * factor,
            high: forecast.high * factor,
            ..forecast
        },
    };
    corrected.into_iter().map(shift).collect()
}

fn measured(question: &Question, forecast: Forecast) -> Forecast {
    let found = question
        .measured
        .iter()
        .find(|run| run.engine == forecast.engine && run.workers == forecast.workers)
        .map(|run| run.seconds);
    Forecast { measured: found, ..forecast }
}

/// Index of the choice among forecasts sorted by known seconds.
fn choose(forecasts: &[Forecast], question: &Question) -> usize {
    let mut candidates = comparable(forecasts);
    if !question.engines.is_empty() {
        candidates.retain(|k| question.engines.contains(&forecasts[*k].engine));
    }
    let Some(best) = candidates.iter().map(|k| forecasts[*k].known()).reduce(f64::min) else { return 0 };
    let simplest = candidates
        .iter()
        .filter(|k| forecasts[**k].known() <= best * TIE)
        .map(|k| forecasts[*k].engine)
        .min();
    let Some(engine) = simplest else { return 0 };
    let own: Vec<usize> = candidates.into_iter().filter(|k| forecasts[*k].engine == engine).collect();
    let best = own.iter().map(|k| forecasts[*k].known()).fold(f64::INFINITY, f64::min);
    own.into_iter()
        .filter(|k| forecasts[*k].known() <= best * FEWER_WORKERS)
        .min_by_key(|k| forecasts[*k].workers)
        .unwrap_or(0)
}

/// Measured runs beat expectations: where an engine was measured, only its measured counts compare.
fn comparable(forecasts: &[Forecast]) -> Vec<usize> {
    let verified: BTreeSet<Engine> = forecasts
        .iter()
        .filter(|forecast| forecast.measured.is_some())
        .map(|forecast| forecast.engine)
        .collect();
    (0..forecasts.len())
        .filter(|k| forecasts[*k].measured.is_some() || !verified.contains(&forecasts[*k].engine))
        .collect()
}

/// Engines without a trial that might yet be the fastest, when there is more than one candidate.
fn contenders(question: &Question, first: &Forecast, others: &[Forecast]) -> Vec<Contender> {
    if !question.measured.is_empty() {
        return Vec::new();
    }
    let tried = |engine: Engine| {
        engine == Engine::Serial
            || question.trials.iter().any(|trial| trial.engine == engine && trial.tasks > 0)
    };
    let best = others.iter().map(|forecast| forecast.seconds).fold(first.seconds, f64::min);
    // Where one thing at a time takes all of a task's time, a trial could only find noise.
    let hopeless = |forecast: &Forecast| forecast.limit == Limit::Gil && forecast.speedup <= NO_GAIN;
    let close = |forecast: &Forecast| {
        forecast.seconds.min(forecast.low * 1.15) <= best * CLOSE && !hopeless(forecast)
    };
    let mut seen = BTreeSet::new();
    let candidates: Vec<&Forecast> = std::iter::once(first)
        .chain(others)
        .filter(|forecast| close(forecast))
        .filter(|forecast| seen.insert(forecast.engine))
        .collect();
    let unsure =
        first.engine != Engine::Serial && (first.high > first.seconds * UNSURE || first.speedup > SURPRISING);
    if candidates.len() < 2 && !unsure {
        return Vec::new();
    }
    let contender = |forecast: &Forecast| Contender {
        engine: forecast.engine,
        workers: forecast.workers,
        chunksize: forecast.chunksize,
    };
    candidates.into_iter().filter(|forecast| !tried(forecast.engine)).map(contender).collect()
}

fn stable(question: &Question, model: &Model<'_>) -> bool {
    let ledger = &question.ledger;
    let held = ledger.standard_error.held / ledger.wall.max(f64::MIN_POSITIVE);
    let split_known =
        !ledger.gil || question.coroutine || (held <= STABLE && ledger.samples >= STABLE_SAMPLES);
    ledger.tasks >= STABLE_TASKS && model.sampling_error() <= STABLE && split_known
}
