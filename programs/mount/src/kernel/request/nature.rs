//! What a request is like, whatever it asks for.

use super::Operation;

impl Operation<'_> {
    /// Whether a program waits for the answer and hears of an error. What nobody waits for is done once or never.
    pub(crate) const fn is_waited_for(&self) -> bool {
        !matches!(
            self,
            Self::Write {
                from_cache: true,
                ..
            } | Self::Release { .. }
                | Self::ReleaseDir { .. }
        )
    }

    /// Whether it works on an open file or directory and on nothing else.
    pub(crate) const fn is_about_open_file(&self) -> bool {
        matches!(
            self,
            Self::Read { .. }
                | Self::Write { .. }
                | Self::Flush { .. }
                | Self::Release { .. }
                | Self::Lock(_)
                | Self::Poll { .. }
                | Self::FSync { .. }
                | Self::LSeek { .. }
                | Self::Fallocate { .. }
                | Self::ReadDir { .. }
                | Self::ReleaseDir { .. }
                | Self::FSyncDir
        )
    }
}
