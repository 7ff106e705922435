//! An open and what follows it in one exchange (R20).

use abi::connect::{CombinedReply, ConnectType, Extra, Opened};
use abi::flags::mode;
use abi::io::{Read, Request};
use abi::{Decode, Encode, Errno, OpenFlags, Result};

use crate::file::TRANSFER_MAX;
use crate::request::Deed;
use crate::{File, Namespace};

impl Namespace {
    /// Opens a path and reads its first bytes with the same exchange. Returns the file, whose offset is behind what was read,
    /// and how many bytes of `into` were filled; 0 is the end of the file.
    ///
    /// # Errors
    /// As [`open`](Self::open) and [`File::read`]; the file is not open then.
    pub fn open_and_read(
        &self,
        path: impl AsRef<[u8]>,
        flags: OpenFlags,
        into: &mut [u8],
    ) -> Result<(File, usize)> {
        let mut file = None;
        let deed = (ConnectType::Combine, flags);
        let count = self.read_combined(path.as_ref(), deed, into, &mut |opened| {
            file = Some(opened);
        })?;
        Ok((file.ok_or(Errno::EBADMSG)?, count))
    }

    /// Reads the first bytes of what is at a path: open, read and close in one exchange. Returns how many bytes of `into`
    /// were filled: less than there is room for at the end of the file, or what a device had.
    ///
    /// # Errors
    /// As [`open`](Self::open) and [`File::read`].
    pub fn read(&self, path: impl AsRef<[u8]>, into: &mut [u8]) -> Result<usize> {
        let deed = (ConnectType::CombineClose, OpenFlags::READ);
        self.read_combined(path.as_ref(), deed, into, &mut drop)
    }

    fn read_combined(
        &self,
        path: &[u8],
        (subtype, flags): (ConnectType, OpenFlags),
        into: &mut [u8],
        opened: &mut dyn FnMut(File),
    ) -> Result<usize> {
        let wanted = into.len().min(TRANSFER_MAX);
        let read = Read {
            nbytes: u32::try_from(wanted).unwrap_or(u32::MAX),
            offset: None,
        };
        let io = Request::Read(read).to_bytes()?;
        let deed = Deed {
            subtype,
            flags,
            mode: mode::S_IFREG,
            extra: Extra::Combined(&io),
            room: Deed::default().room + wanted,
            ..Deed::default()
        };
        let mut count = None;
        self.perform(path, &deed, &mut |doer| {
            let (line, candidate, body) = doer.opened()?;
            let reply = CombinedReply::from_bytes(&body)?;
            let space = into.get_mut(..reply.body.len()).ok_or(Errno::EBADMSG)?;
            space.copy_from_slice(reply.body);
            count = Some(reply.body.len());
            if subtype == ConnectType::Combine {
                let told: Opened = reply.opened.ok_or(Errno::EBADMSG)?;
                opened(File::new(line, candidate, told, flags));
            }
            Ok(())
        })?;
        count.ok_or(Errno::EBADMSG)
    }

    /// Asks the server of a path to serve something there: what it is on, its kind, and options, in words that the
    /// server understands.
    ///
    /// # Errors
    /// `ENOSYS` the server mounts nothing, `ENODEV` not of this kind, `EBUSY`, `EPERM`.
    pub fn mount(
        &self,
        path: impl AsRef<[u8]>,
        special: impl AsRef<[u8]>,
        kind: impl AsRef<[u8]>,
        options: impl AsRef<[u8]>,
    ) -> Result {
        let extra = Extra::Mount {
            special: special.as_ref(),
            kind: kind.as_ref(),
            options: options.as_ref(),
        };
        let deed = Deed {
            extra,
            ..Deed::change(ConnectType::Mount)
        };
        self.make(path.as_ref(), &deed)
    }
}
