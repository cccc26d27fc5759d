//! The table of renamed keys and kinds, in specs, states and the files of the command.

/// Pairs of an old and a new name. An old name is an error whose message has the new one.
pub const RENAMED: &[(&str, &str)] = &[
    ("rivals", "negatives"),
    ("sub-centres", "sub-centers"),
    ("regulariser", "regularizer"),
    ("amount", "value"),
    ("deviation", "std"),
    ("standardised", "standardized"),
    ("norm-deviation", "norm-std"),
    ("optimiser", "optimizer"),
    ("normalisation", "normalization"),
];

/// Returns the new name of a key or kind; `None` if `name` is not an old one.
///
/// ```
/// use softmargin::request::current_name;
/// assert_eq!(current_name("rivals"), Some("negatives"));
/// assert_eq!(current_name("negatives"), None);
/// ```
pub fn current_name(name: &str) -> Option<&'static str> {
    RENAMED.iter().find(|(old, _)| *old == name).map(|(_, new)| *new)
}
