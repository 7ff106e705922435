//! Copies files of any node to standard output: `cargo run -p slashnet --example cat -- /net/lab2/etc/motd`.

use slashnet::{File, OpenFlags};
use std::io;

fn main() -> io::Result<()> {
    for path in std::env::args().skip(1) {
        let mut file = File::open(&path, OpenFlags::READ)?;
        io::copy(&mut file, &mut io::stdout().lock())?;
    }
    Ok(())
}
