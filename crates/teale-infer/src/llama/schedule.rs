//! How many tokens of each slot the next decoding step takes.

use std::time::Duration;

/// Prompt tokens of a step on the slowest machine, and of the first step, before anything was measured.
const LEAST_BUDGET: usize = 8;
/// How much one measurement counts.
const WEIGHT: f64 = 0.3;

/// Shares a step: every slot with one token to go gets it; the others share `budget` evenly, what one leaves goes
/// to the others. `todo[slot]` is how many tokens the slot could take; no more than `capacity` are given in all.
pub(super) fn share(todo: &[usize], budget: usize, capacity: usize) -> Vec<usize> {
    let mut given: Vec<usize> = todo.iter().map(|count| usize::from(*count == 1)).collect();
    let mut left = capacity.saturating_sub(given.iter().sum()).min(budget);
    loop {
        let hungry = given.iter().zip(todo).filter(|(given, todo)| given < todo).count();
        if hungry == 0 || left == 0 {
            return given;
        }
        let each = (left / hungry).max(1);
        for (given, todo) in given.iter_mut().zip(todo) {
            let more = each.min(todo - *given).min(left);
            *given += more;
            left -= more;
        }
    }
}

/// Learns how many prompt tokens fit into a step of the wanted length.
#[derive(Debug, Clone)]
pub(super) struct Pace {
    step: Duration,
    most: usize,
    seconds_per_token: Option<f64>,
}

impl Pace {
    pub(super) fn new(step: Duration, most: usize) -> Self {
        Self { step, most, seconds_per_token: None }
    }

    /// Prompt tokens of the next step.
    pub(super) fn budget(&self) -> usize {
        let Some(seconds) = self.seconds_per_token else { return LEAST_BUDGET };
        let fits = self.step.as_secs_f64() / seconds.max(1e-9);
        (fits as usize).clamp(LEAST_BUDGET, self.most.max(LEAST_BUDGET))
    }

    /// A step of so many tokens took so long. Steps without a prompt say nothing about prompts.
    pub(super) fn measured(&mut self, tokens: usize, took: Duration) {
        if tokens >= LEAST_BUDGET {
            let new = took.as_secs_f64() / tokens as f64;
            let old = self.seconds_per_token.unwrap_or(new);
            self.seconds_per_token = Some(old + WEIGHT * (new - old));
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn writers_come_first_and_readers_share() {
        assert_eq!(share(&[1, 100, 0, 1, 30], 80, 512), [1, 50, 0, 1, 30]);
        assert_eq!(share(&[100, 100], 7, 512), [4, 3]);
        assert_eq!(share(&[1, 1, 1], 0, 512), [1, 1, 1]);
    }

    #[test]
    fn the_budget_follows_the_machine() {
        let mut pace = Pace::new(Duration::from_millis(50), 500);
        assert_eq!(pace.budget(), LEAST_BUDGET, "nothing is known of the machine");
        for _ in 0..50 {
            pace.measured(64, Duration::from_millis(64));
        }
        assert_eq!(pace.budget(), 50);
        for _ in 0..50 {
            pace.measured(50, Duration::from_secs(50));
        }
        assert_eq!(pace.budget(), LEAST_BUDGET);
    }

    proptest! {
        #[test]
        fn no_step_is_too_large_and_none_is_idle(
            todo in proptest::collection::vec(0_usize..600, 1..8),
            budget in 1_usize..512,
        ) {
            let given = share(&todo, budget, 512);
            let readers: usize = given.iter().zip(&todo).filter(|(_, todo)| **todo > 1).map(|(given, _)| given).sum();
            prop_assert!(given.iter().zip(&todo).all(|(given, todo)| given <= todo));
            prop_assert!(readers <= budget && given.iter().sum::<usize>() <= 512);
            prop_assert_eq!(given.iter().sum::<usize>() == 0, todo.iter().sum::<usize>() == 0);
        }
    }
}
