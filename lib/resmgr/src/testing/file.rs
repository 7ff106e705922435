//! What a client does with an open file.

use abi::devctl::Devctl;
use abi::io::{Dup, Read, Request, Stat};
use abi::{Decode, Encode, Result};

use super::{Reply, TestFile, encode};

impl TestFile {
    /// Sends an io message and takes its answer.
    ///
    /// # Errors
    /// What the manager refuses with; ETIMEDOUT if it does not answer within 5 seconds.
    pub fn ask(&self, request: &Request<'_>) -> Result<Reply> {
        self.start(request).wait()
    }

    /// Reads at the file's offset.
    ///
    /// # Errors
    /// As [`ask`](Self::ask).
    pub fn read(&self, nbytes: u32) -> Result<Vec<u8>> {
        self.ask(&Request::Read(Read {
            nbytes,
            offset: None,
        }))
        .map(|(_, bytes)| bytes)
    }

    /// Writes at the file's offset.
    ///
    /// # Errors
    /// As [`ask`](Self::ask).
    pub fn write(&self, data: &[u8]) -> Result<i64> {
        self.ask(&Request::Write { offset: None, data })
            .map(|(status, _)| status)
    }

    /// The attributes.
    ///
    /// # Errors
    /// As [`ask`](Self::ask).
    pub fn stat(&self) -> Result<Stat> {
        let (_, body) = self.ask(&Request::Stat)?;
        Ok(Stat::from_bytes(&body)?)
    }

    /// Sends a device control.
    ///
    /// # Errors
    /// As [`ask`](Self::ask).
    pub fn devctl<A: Encode, R: for<'a> Decode<'a>>(
        &self,
        control: Devctl<A, R>,
        argument: &A,
    ) -> Result<R> {
        let data = encode(argument);
        let (_, body) = self.ask(&Request::Devctl {
            dcmd: control.dcmd(),
            data: &data,
        })?;
        Ok(R::from_bytes(&body)?)
    }

    /// Makes another connection lead to the same open file.
    ///
    /// # Errors
    /// As [`ask`](Self::ask).
    pub fn dup(&self) -> Result<Self> {
        let other = self.client.connection();
        other.ask(&Request::Dup(Dup {
            original: self.connection,
        }))?;
        Ok(other)
    }

    /// Closes.
    ///
    /// # Errors
    /// As [`ask`](Self::ask).
    pub fn close(&self) -> Result {
        self.ask(&Request::Close).map(|_| ())
    }
}
