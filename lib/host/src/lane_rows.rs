//! The lane rows of the node page, played in every order of a writer and a reader that the memory model of the
//! language allows.

use std::sync::Arc;

use abi::system::LANE_ROW_WORDS;
use abi::system::row_words::{RowWords, read_row, write_row};
use loom::sync::atomic::{AtomicU32, Ordering, fence};
use loom::thread;

/// A row of which only some words are real: the model plays more orders than anybody can wait for otherwise.
#[derive(Default)]
struct Row {
    number: AtomicU32,
    first: AtomicU32,
    last: AtomicU32,
}

impl Row {
    fn word(&self, at: usize) -> Option<&AtomicU32> {
        match at {
            0 => Some(&self.number),
            1 => Some(&self.first),
            at if at + 1 == LANE_ROW_WORDS => Some(&self.last),
            _ => None,
        }
    }
}

impl RowWords for Row {
    fn load(&self, at: usize, ordering: Ordering) -> u32 {
        self.word(at).map_or(0, |word| word.load(ordering))
    }

    fn store(&self, at: usize, value: u32, ordering: Ordering) {
        if let Some(word) = self.word(at) {
            word.store(value, ordering);
        }
    }

    fn fence(ordering: Ordering) {
        fence(ordering);
    }
}

/// The same without fences.
#[derive(Default)]
struct Careless(Row);

impl RowWords for Careless {
    fn load(&self, at: usize, ordering: Ordering) -> u32 {
        self.0.load(at, ordering)
    }

    fn store(&self, at: usize, value: u32, ordering: Ordering) {
        self.0.store(at, value, ordering);
    }

    fn fence(_ordering: Ordering) {}
}

fn play<R: RowWords + Default + 'static>() {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(3);
    model.check(|| {
        let row = Arc::new(R::default());
        let writers = Arc::clone(&row);
        let writer = thread::spawn(move || {
            write_row(&*writers, &[1; LANE_ROW_WORDS]);
        });
        if let Some(words) = read_row(&*row) {
            assert_eq!(words[1], words[LANE_ROW_WORDS - 1], "a torn row");
        }
        writer.join().expect("the writer ends");
        let words = read_row(&*row).expect("nobody is writing");
        assert_eq!(words[1], 1);
    });
}

#[test]
fn a_reader_sees_a_whole_row_or_knows_better() {
    play::<Row>();
}

#[test]
fn the_fences_are_needed() {
    let played = std::panic::catch_unwind(play::<Careless>);
    let why = played.expect_err("a model without fences passes");
    let why = why.downcast_ref::<String>().map_or("", String::as_str);
    assert!(why.contains("a torn row"), "{why}");
}
