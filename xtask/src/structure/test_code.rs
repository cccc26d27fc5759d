//! The test for code that only tests compile.

use syn::punctuated::Punctuated;
use syn::{Attribute, Meta, Token};

/// Returns whether the attributes leave an item out of every build but a test's: `#[test]`, `#[cfg(test)]`,
/// `#[cfg(all(test, ..))]`.
pub(crate) fn is_test_only(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        let path = attribute.path();
        path.is_ident("test")
            || (path.is_ident("cfg") && attribute.parse_args::<Meta>().is_ok_and(|meta| needs_test(&meta)))
    })
}

/// Returns whether a condition holds in tests only.
fn needs_test(condition: &Meta) -> bool {
    let Meta::List(list) = condition else {
        return condition.path().is_ident("test") || condition.path().is_ident("doctest");
    };
    let Ok(parts) = list.parse_args_with(Punctuated::<Meta, Token![,]>::parse_terminated) else {
        return false;
    };
    match list.path.get_ident().map(ToString::to_string).as_deref() {
        Some("all") => parts.iter().any(needs_test),
        Some("any") => !parts.is_empty() && parts.iter().all(needs_test),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::is_test_only;

    #[test]
    fn conditions_that_need_a_test_are_told_from_others() {
        let judge = |text: &str| {
            let item: syn::ItemFn = syn::parse_str(&format!("{text} fn f() {{}}")).unwrap();
            is_test_only(&item.attrs)
        };
        for yes in ["#[test]", "#[cfg(test)]", "#[cfg(all(unix, test))]", "#[cfg(any(test, doctest))]"] {
            assert!(judge(yes), "{yes}");
        }
        for no in ["", "#[inline]", "#[cfg(not(test))]", "#[cfg(any(test, unix))]", "#[cfg(feature = \"test\")]"] {
            assert!(!judge(no), "{no}");
        }
    }
}
