//! What a short real trial does to a forecast.

use crate::{
    Forecast, Limit,
    forecast::{Model, START_ERROR, Z_80, ratio, to_float},
    schedule::imbalance,
};

/// How much longer than expected a trial must take to contradict the model.
const SLOWER: f64 = 1.3;
/// Relative error of a trial of even tasks.
const TRIAL_ERROR: f64 = 0.06;
/// Relative error of the model in the cases that are tried, where it is at its weakest.
const UNTRIED_ERROR: f64 = 0.25;

/// Corrects a forecast by the last trial of the same engine and workers, if there was one.
pub(crate) fn corrected(model: &Model<'_>, forecast: Forecast) -> Forecast {
    let found = model.question.trials.iter().rev().find(|trial| {
        trial.engine == forecast.engine && trial.workers == forecast.workers && trial.tasks > 0
    });
    let Some(trial) = found else { return forecast };
    let lengths = &model.question.task_seconds;
    let done = to_float(trial.tasks);
    let chunk = forecast.chunksize.min(chunk_of(trial.tasks, trial.workers));
    // Where one thing at a time is the limit, no worker runs alone at the end.
    let in_turn = matches!(forecast.limit, Limit::Gil | Limit::Payload);
    let factor = |tasks, chunk| if in_turn { 1.0 } else { imbalance(lengths, tasks, trial.workers, chunk) };
    let then = factor(trial.tasks, chunk);
    let whole = factor(model.question.tasks, forecast.chunksize);
    let tried = model.tasks * trial.seconds / done / then * whole;
    let expected = (forecast.seconds - trial.open_seconds).max(tried * 0.05);
    let limit = if served(model, &forecast, tried, expected) { Limit::Cores } else { forecast.limit };
    let luck = (model.task.variation / done.sqrt()).hypot(TRIAL_ERROR);
    let (work, error) = combined((tried, luck), (expected, UNTRIED_ERROR));
    let seconds = trial.open_seconds + work;
    let margin = Z_80 * (work * error).hypot(START_ERROR * trial.open_seconds);
    Forecast {
        seconds,
        low: (seconds - margin).max(seconds * 0.3),
        high: seconds + margin,
        speedup: ratio(model.serial(), seconds),
        trial: Some(trial.seconds / done),
        limit,
        ..forecast
    }
}

/// Whether a trial took so much longer than expected that what the tasks wait for must be computed on these cores.
fn served(model: &Model<'_>, forecast: &Forecast, tried: f64, expected: f64) -> bool {
    let bound = model.served(forecast.engine, forecast.workers);
    tried > SLOWER * expected && bound > 0.7 * tried
}

/// Lifts the forecast of an engine that waits like one whose trial met the server's CPU: it will meet it too.
pub(crate) fn lifted(model: &Model<'_>, forecast: Forecast, tried: &[Forecast]) -> Forecast {
    let met = tried.iter().any(|other| other.trial.is_some() && other.limit == Limit::Cores);
    let bound = model.served(forecast.engine, forecast.workers);
    if !met || forecast.trial.is_some() || bound <= forecast.seconds {
        return forecast;
    }
    let factor = bound / forecast.seconds;
    Forecast {
        seconds: bound,
        low: forecast.low,
        high: forecast.high.max(bound * 1.2),
        speedup: forecast.speedup / factor,
        limit: Limit::Cores,
        ..forecast
    }
}

/// Two estimates of one length with their relative errors, weighed by these: the mean of their logarithms.
///
/// With even tasks a trial says it all; of uneven ones it may have met none of the long ones.
fn combined(a: (f64, f64), b: (f64, f64)) -> (f64, f64) {
    let (weight_a, weight_b) = (a.1.powi(-2), b.1.powi(-2));
    let sum = weight_a + weight_b;
    let log = (a.0.max(1e-12).ln() * weight_a + b.0.max(1e-12).ln() * weight_b) / sum;
    (log.exp(), sum.powf(-0.5))
}

/// The largest chunk that gives each worker of a trial something to do.
fn chunk_of(tasks: u64, workers: u32) -> u32 {
    u32::try_from(tasks / u64::from(workers.max(1))).unwrap_or(u32::MAX).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_surer_estimate_weighs_more() {
        let (length, error) = combined((1.0, 0.05), (2.0, 0.25));
        assert!(length > 1.0 && length < 1.1, "{length}");
        assert!(error < 0.05);
    }

    #[test]
    fn an_unsure_trial_leaves_the_model_standing() {
        let (length, _) = combined((1.0, 2.0), (2.0, 0.25));
        assert!(length > 1.9, "{length}");
    }
}
