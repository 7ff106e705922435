//! Log lines on their way to standard error, written by a thread of their own.
//!
//! A terminal that somebody has stopped, or a pipe that nobody reads, takes no lines and holds up whoever writes. A node
//! that is held up looks dead to its peers, so it drops lines instead, and says how many.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

use tracing_subscriber::fmt::MakeWriter;

/// Lines that wait; more are dropped.
const WAITING_MAX: usize = 1024;
/// How long a program that ends waits for its last lines to be written.
const LAST_LINES: Duration = Duration::from_millis(500);

/// Where lines are put, from any thread, without waiting.
#[derive(Clone, Debug)]
pub(crate) struct LogLines {
    sender: SyncSender<Message>,
    dropped: Arc<AtomicUsize>,
}

#[derive(Debug)]
enum Message {
    Line(Vec<u8>),
    /// All before it has been written.
    Mark(SyncSender<()>),
}

impl LogLines {
    /// Starts the thread that writes to `place`.
    pub(crate) fn to(place: impl Write + Send + 'static) -> io::Result<Self> {
        let (sender, receiver) = sync_channel(WAITING_MAX);
        let dropped = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&dropped);
        std::thread::Builder::new()
            .name("log".to_owned())
            .spawn(move || write_all(place, &receiver, &counted))?;
        Ok(Self { sender, dropped })
    }

    /// Waits until what was put so far has been written, but not for long.
    pub(crate) fn flush(&self) {
        let (written, wait) = sync_channel(1);
        if self.sender.try_send(Message::Mark(written)).is_ok() {
            let _ = wait.recv_timeout(LAST_LINES);
        }
    }
}

fn write_all(mut place: impl Write, messages: &Receiver<Message>, dropped: &AtomicUsize) {
    for message in messages {
        match message {
            // A terminal that was closed takes no lines; that is no reason to end.
            Message::Line(line) => drop(place.write_all(&line)),
            Message::Mark(written) => drop(written.try_send(())),
        }
        let lost = dropped.swap(0, Ordering::Relaxed);
        if lost > 0 {
            let _ = writeln!(place, "({lost} lines are missing here: nobody took them)");
        }
    }
}

impl<'a> MakeWriter<'a> for LogLines {
    type Writer = Line<'a>;

    fn make_writer(&'a self) -> Line<'a> {
        Line {
            lines: self,
            text: Vec::new(),
        }
    }
}

/// A line that is being made.
#[derive(Debug)]
pub(crate) struct Line<'a> {
    lines: &'a LogLines,
    text: Vec<u8>,
}

impl Write for Line<'_> {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        self.text.extend_from_slice(text);
        Ok(text.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Line<'_> {
    fn drop(&mut self) {
        let line = Message::Line(std::mem::take(&mut self.text));
        if self.lines.sender.try_send(line).is_err() {
            self.lines.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;
    use std::os::unix::net::UnixStream;

    #[test]
    fn lines_are_written_in_order_and_a_flush_waits_for_them() {
        let (mut reader, place) = UnixStream::pair().unwrap();
        let lines = LogLines::to(place).unwrap();
        for line in ["one\n", "two\n"] {
            lines.make_writer().write_all(line.as_bytes()).unwrap();
        }
        lines.flush();
        let mut text = [0; 8];
        reader.set_nonblocking(true).unwrap();
        reader.read_exact(&mut text).unwrap();
        assert_eq!(&text, b"one\ntwo\n");
    }

    /// A place that takes nothing until it is told to.
    struct Gate {
        reached: SyncSender<()>,
        open: Receiver<()>,
        place: UnixStream,
    }

    impl Write for Gate {
        fn write(&mut self, text: &[u8]) -> io::Result<usize> {
            // Once the other end of `open` is gone, all goes through.
            if self.reached.try_send(()).is_ok() {
                let _ = self.open.recv();
            }
            self.place.write(text)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn nobody_waits_for_who_takes_no_lines_and_the_gap_is_told() {
        let (mut reader, place) = UnixStream::pair().unwrap();
        let (reached, at_the_gate) = sync_channel(1);
        let (opener, open) = sync_channel(1);
        let lines = LogLines::to(Gate {
            reached,
            open,
            place,
        })
        .unwrap();
        lines.make_writer().write_all(b"first\n").unwrap();
        at_the_gate.recv().unwrap();
        drop(at_the_gate);
        for _ in 0..WAITING_MAX + 5 {
            lines.make_writer().write_all(b"x\n").unwrap();
        }
        drop(opener);
        drop(lines);
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        let told = "first\n(5 lines are missing here: nobody took them)\nx\n";
        assert!(text.starts_with(told), "{}", &text[..60]);
        assert_eq!(text.lines().count(), 2 + WAITING_MAX);
    }
}
