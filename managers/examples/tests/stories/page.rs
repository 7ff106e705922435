//! `docs/resmgr.md` shows what is here: every piece of Rust on the page is in one of these files.

const PAGE: &str = include_str!("../../../../docs/resmgr.md");
const SOURCES: &[&str] = &[
    include_str!("../../../hello/src/main.rs"),
    include_str!("../../src/lib.rs"),
    include_str!("../../src/bin/slashnet-counter.rs"),
    include_str!("../../src/bin/slashnet-time.rs"),
    include_str!("../../src/bin/slashnet-tar/main.rs"),
    include_str!("../../src/bin/slashnet-ram/main.rs"),
    include_str!("../../src/bin/slashnet-ram/files.rs"),
    include_str!("../../src/bin/slashnet-ram/names.rs"),
    include_str!("../../src/bin/slashnet-ram/tree.rs"),
    include_str!("../../../../lib/resmgr/tests/guide.rs"),
    include_str!("devices.rs"),
];

/// Lines without what indents all of them, so that a method stands on the page as it is in its `impl`.
fn flush_left(lines: &[&str]) -> Vec<String> {
    let indented = lines.iter().filter(|line| !line.trim().is_empty());
    let indent = indented
        .map(|line| line.len() - line.trim_start().len())
        .min();
    let cut = |line: &&str| {
        line.get(indent.unwrap_or(0)..)
            .unwrap_or_default()
            .to_owned()
    };
    lines.iter().map(cut).collect()
}

fn contains(source: &str, piece: &[&str]) -> bool {
    let wanted = flush_left(piece);
    let lines: Vec<&str> = source.lines().collect();
    lines
        .windows(piece.len())
        .any(|window| flush_left(window) == wanted)
}

#[test]
fn the_page_shows_what_is_compiled_and_run() {
    let blocks: Vec<&str> = PAGE.split("```rust\n").skip(1).collect();
    assert!(blocks.len() > 10);
    for block in blocks {
        let text = block.split("```").next().unwrap();
        // Three dots on a line of their own leave something out.
        for piece in text.split("// ...\n") {
            let lines: Vec<&str> = piece.trim_matches('\n').lines().collect();
            let known = SOURCES.iter().any(|source| contains(source, &lines));
            assert!(known, "in no example:\n{piece}");
        }
    }
}

#[test]
fn the_first_manager_has_thirteen_lines() {
    let code = SOURCES[0].lines().filter(|line| !line.starts_with("//!"));
    assert_eq!(code.count(), 13);
}
