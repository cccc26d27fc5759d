//! The command line of `cargo xtask`.

/// A chore and its options.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Chore {
    /// Run every check; with `quick`, without those of the Python package.
    Test { quick: bool },
    /// Print the graph of modules and check the direction of dependence.
    Structure,
    /// Print the usage, because the user requested it.
    Help,
}

/// The usage of this program.
pub(crate) const USAGE: &str = "\
usage: cargo xtask test [--quick]
           every check: structure, format, lints, documentation, fuzz targets, tests, benches, Python
           --quick leaves out Python, for changes in Rust only
       cargo xtask structure
           the modules of every crate from the bottom up, and the cycles among them";

/// Reads the arguments after the program's name.
///
/// # Errors
/// If an argument is unknown, or none is given.
pub(crate) fn parse(arguments: &[String]) -> Result<Chore, String> {
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        [] => Err("arguments: expected test or structure, found none".into()),
        ["test"] => Ok(Chore::Test { quick: false }),
        ["test", "--quick"] => Ok(Chore::Test { quick: true }),
        ["structure"] => Ok(Chore::Structure),
        ["help" | "--help" | "-h"] | ["test" | "structure", "--help" | "-h"] => Ok(Chore::Help),
        _ => Err(format!("arguments: unknown: {}", arguments.join(" "))),
    }
}

#[cfg(test)]
mod tests {
    use super::{Chore, parse};

    fn read(line: &str) -> Result<Chore, String> {
        parse(&line.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn known_arguments_are_read() {
        assert_eq!(read("test"), Ok(Chore::Test { quick: false }));
        assert_eq!(read("test --quick"), Ok(Chore::Test { quick: true }));
        assert_eq!(read("structure"), Ok(Chore::Structure));
        assert_eq!(read("--help"), Ok(Chore::Help));
        assert_eq!(read("test --help"), Ok(Chore::Help));
    }

    #[test]
    fn unknown_arguments_are_rejected() {
        for line in ["", "tests", "test quick", "test --quick --fast", "structure --dot"] {
            assert!(read(line).is_err(), "{line}");
        }
    }
}
