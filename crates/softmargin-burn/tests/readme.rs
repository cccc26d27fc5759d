//! The example for Burn in the project's README, which only this crate could compile: it is the example in the
//! documentation of the crate, which is compiled and run.

const README: &str = include_str!("../../../README.md");
const CRATE: &str = include_str!("../src/lib.rs");

/// Returns the lines of the first block of code after `fence`, without indentation.
fn first_block<'a>(lines: impl Iterator<Item = &'a str>, fence: &str) -> Vec<&'a str> {
    let trimmed = lines.map(str::trim).skip_while(|line| *line != fence).skip(1);
    trimmed.take_while(|line| *line != "```").collect()
}

/// Returns the statements of a program: without its function `main` and blank lines.
fn statements(program: Vec<&str>) -> Vec<&str> {
    let Some(main) = program.iter().position(|line| line.starts_with("fn main()")) else { return Vec::new() };
    let end = program.iter().rposition(|line| *line == "Ok(())").unwrap_or(main);
    let lines = program[..main].iter().chain(&program[(main + 1).min(end)..end]);
    lines.copied().filter(|line| !line.is_empty()).collect()
}

#[test]
fn the_example_in_the_readme_is_that_of_the_crate() {
    let documentation = CRATE.lines().map_while(|line| line.strip_prefix("//!"));
    let mut expected = first_block(documentation, "```");
    expected.retain(|line| !line.is_empty() && !line.starts_with("# "));
    assert!(!expected.is_empty());
    assert_eq!(statements(first_block(README.lines(), "```rust,ignore")), expected);
}
