//! What each user may have of something of which there is only so much.

/// How many there are, and for whom.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Share {
    /// All of them.
    pub(crate) all: usize,
    /// The most that one ordinary user may have.
    pub(crate) of_user: usize,
    /// Those that only root and the node's owner get.
    pub(crate) reserve: usize,
}

impl Share {
    /// Whether an ordinary user who has `own` of the `taken` ones may have another. Nobody may have more than is left
    /// then: the first has half of them at most, the second half of the rest, so however many join forces, somebody else
    /// still gets something.
    pub(crate) fn has_one_for_user(&self, own: usize, taken: usize) -> bool {
        let left = self.all.saturating_sub(self.reserve + taken);
        own < self.of_user.min(left)
    }

    /// The same for root and the node's owner.
    pub(crate) const fn has_one_for_manager(&self, taken: usize) -> bool {
        taken < self.all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn greedy_users_leave_something_for_the_next_and_the_reserve_for_those_who_manage() {
        let share = Share {
            all: 1000,
            of_user: 600,
            reserve: 100,
        };
        let mut taken = 0;
        let mut had = [0; 5];
        for own in &mut had {
            while share.has_one_for_user(*own, taken) {
                *own += 1;
                taken += 1;
            }
        }
        assert_eq!(had, [450, 225, 113, 56, 28]);
        while share.has_one_for_manager(taken) {
            taken += 1;
        }
        assert_eq!(taken, 1000);
    }

    #[test]
    fn what_one_user_may_have_is_bounded_however_much_is_left() {
        let share = Share {
            all: 1000,
            of_user: 64,
            reserve: 100,
        };
        assert!(share.has_one_for_user(63, 63));
        assert!(!share.has_one_for_user(64, 64));
        assert!(!share.has_one_for_user(0, 900));
        assert!(!share.has_one_for_user(0, 1000));
    }
}
