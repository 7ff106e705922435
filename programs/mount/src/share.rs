//! How much of what all servers share one of them, or one listing, may have.

/// Whether somebody who has `own` of what there is may have it beside all that is `taken`: nobody may have more than is left
/// to the others. So one has half of it at most, a second one half of the rest, and so on.
pub(crate) const fn leaves_as_much(own: usize, taken: usize, all: usize) -> bool {
    own <= all.saturating_sub(taken)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_has_half_and_the_next_half_of_the_rest() {
        let most = |taken: usize| {
            let mut own = 0;
            while leaves_as_much(own + 1, taken + own + 1, 1024) {
                own += 1;
            }
            own
        };
        assert_eq!((most(0), most(512), most(768)), (512, 256, 128));
        assert_eq!(most(1024), 0);
        assert_eq!(most(usize::MAX - 1024), 0);
    }
}
