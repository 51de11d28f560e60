//! From a ranking to a customer's offers: novelty, slots, and what rules refuse.

use super::score::Candidate;
use crate::config::resolve::Mix;

/// Why a candidate was passed over: the number of a rule.
pub type Rule = u16;
/// No rule refuses.
pub const STANDS: Rule = Rule::MAX;

/// What a walk down a ranking found; reused between customers.
#[derive(Debug, Default)]
pub struct Walk {
    /// Positions in the ranking, best first.
    pub chosen: Vec<usize>,
    /// Candidates that a rule took, with the rule, in the order of the ranking.
    pub refused: Vec<(usize, Rule)>,
    /// Candidates that were looked at.
    pub considered: usize,
    later: Vec<usize>,
}

impl Walk {
    /// Takes the best `top` candidates that may stand, by the mix of new and repeated packages. Slots
    /// that one kind cannot fill go to the other. The first `pinned` candidates are taken whatever the
    /// mix. `refuses` says which rule takes a candidate, given
    /// what has been chosen.
    pub fn down(
        &mut self,
        ranking: &[Candidate],
        top: usize,
        mix: Mix,
        pinned: usize,
        mut refuses: impl FnMut(usize, &[usize]) -> Rule,
    ) {
        self.chosen.clear();
        self.refused.clear();
        self.later.clear();
        self.considered = 0;
        let (most_repeat, most_new) = match mix {
            Mix::Any => (top, top),
            Mix::NewOnly => (0, top),
            Mix::RepeatOnly => (top, 0),
            Mix::Slots { repeat, explore } => (repeat, explore),
        };
        let slots = matches!(mix, Mix::Slots { .. });
        let (mut repeat, mut new) = (0, 0);
        for (at, candidate) in ranking.iter().enumerate() {
            if self.chosen.len() == top {
                break;
            }
            let (count, most) = match candidate.bought {
                Some(_) => (&mut repeat, most_repeat),
                None => (&mut new, most_new),
            };
            if *count >= most && at >= pinned {
                if slots {
                    self.later.push(at);
                }
                continue;
            }
            self.considered += 1;
            match refuses(at, &self.chosen) {
                STANDS => {
                    *count += 1;
                    self.chosen.push(at);
                }
                rule => self.refused.push((at, rule)),
            }
        }
        for position in 0..self.later.len() {
            if self.chosen.len() == top {
                break;
            }
            let at = self.later[position];
            self.considered += 1;
            match refuses(at, &self.chosen) {
                STANDS => self.chosen.push(at),
                rule => self.refused.push((at, rule)),
            }
        }
        self.chosen.sort_unstable();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Candidates best first; true: bought before.
    fn ranking(bought: &[bool]) -> Vec<Candidate> {
        bought.iter().enumerate().map(|(at, own)| Candidate::of_test(at as u32, -(at as f64), *own)).collect()
    }

    fn walk(bought: &[bool], top: usize, mix: Mix, refused: &[usize]) -> (Vec<usize>, usize) {
        let mut walk = Walk::default();
        walk.down(&ranking(bought), top, mix, 0, |at, _| if refused.contains(&at) { 3 } else { STANDS });
        (walk.chosen, walk.refused.len())
    }

    const OWN: [bool; 6] = [true, true, true, false, true, false];

    #[test]
    fn the_best_stand_and_refused_ones_are_replaced() {
        assert_eq!(walk(&OWN, 3, Mix::Any, &[]), (vec![0, 1, 2], 0));
        assert_eq!(walk(&OWN, 3, Mix::Any, &[0, 2]), (vec![1, 3, 4], 2));
        assert_eq!(walk(&OWN, 9, Mix::Any, &[5]), (vec![0, 1, 2, 3, 4], 1));
    }

    #[test]
    fn novelty_keeps_one_kind() {
        assert_eq!(walk(&OWN, 3, Mix::NewOnly, &[]), (vec![3, 5], 0));
        assert_eq!(walk(&OWN, 3, Mix::RepeatOnly, &[1]), (vec![0, 2, 4], 1));
    }

    #[test]
    fn slots_are_kept_and_what_one_kind_cannot_fill_goes_to_the_other() {
        assert_eq!(walk(&OWN, 4, Mix::Slots { repeat: 2, explore: 2 }, &[]), (vec![0, 1, 3, 5], 0));
        // Only one new package may stand: the third best repeat takes the place.
        assert_eq!(walk(&OWN, 4, Mix::Slots { repeat: 2, explore: 2 }, &[3]), (vec![0, 1, 2, 5], 1));
    }

    #[test]
    fn pinned_packages_stand_whatever_the_mix() {
        let mut walk = Walk::default();
        walk.down(&ranking(&OWN), 3, Mix::NewOnly, 1, |_, _| STANDS);
        assert_eq!(walk.chosen, vec![0, 3, 5]);
    }

    #[test]
    fn a_rule_may_look_at_what_was_chosen() {
        let mut walk = Walk::default();
        walk.down(
            &ranking(&OWN),
            3,
            Mix::Any,
            0,
            |at, chosen| if at == 1 && chosen == [0] { 7 } else { STANDS },
        );
        assert_eq!((walk.chosen, walk.refused, walk.considered), (vec![0, 2, 3], vec![(1, 7)], 4));
    }
}
