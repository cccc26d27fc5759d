//! A file for `--config`: read, and every key of it known.

use super::{FORMAT, Request, keys};
use crate::error::Error;
use std::fs;
use std::path::Path;
use toml::Table;

const ADVICE: &str = "every key is in docs/configuration.md";

impl Request {
    /// Reads a file that holds any part of a configuration.
    ///
    /// # Errors
    /// With exit code 2 where the file is missing, is not TOML, has a key that there is not (the message has the nearest
    /// one), or a value that its key does not take; the message has the line.
    pub fn read(path: &Path) -> Result<Self, Error> {
        let expected = "a configuration in TOML";
        if path.is_dir() {
            let advice = format!("of a run, give {}", path.join("config.toml").display());
            return Err(Error::request(path.display(), expected, "a folder", advice));
        }
        let bytes = fs::read(path).map_err(|cause| Error::io(path, expected, cause))?;
        let text = String::from_utf8(bytes).map_err(|cause| {
            Error::request(path.display(), expected, "bytes that are not UTF-8", ADVICE).with_source(cause)
        })?;
        let fault = |cause: toml::de::Error| {
            let found = format!("{}{}", line(&text, &cause), cause.message().replace('\n', "; "));
            Error::request(path.display(), expected, found, ADVICE)
        };
        let table: Table = toml::from_str(&text).map_err(fault)?;
        if let Some(unknown) = keys::unknown(&table) {
            let advice = unknown.nearest.map_or_else(|| ADVICE.into(), |key| format!("did you mean {key}? {ADVICE}"));
            return Err(Error::request(path.display(), "keys of a configuration", unknown.key, advice));
        }
        let request: Self = toml::from_str(&text).map_err(fault)?;
        match request.format {
            Some(format) if format != FORMAT => {
                let advice = "leave the format out, and take over the keys that you need";
                Err(Error::request(path.display(), format!("format {FORMAT}"), format!("format {format}"), advice))
            }
            _ => Ok(request),
        }
    }
}

/// `line 3: `, where the fault is known to be in a line.
fn line(text: &str, cause: &toml::de::Error) -> String {
    let before = cause.span().and_then(|span| text.get(..span.start));
    before.map_or_else(String::new, |before| format!("line {}: ", before.matches('\n').count() + 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is said of a file with this content.
    #[track_caller]
    fn refused(text: &[u8]) -> String {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("asked.toml");
        fs::write(&path, text).unwrap();
        let error = Request::read(&path).unwrap_err();
        assert_eq!(error.exit_code(), 2, "{error}");
        let message = error.to_string();
        assert!(message.contains("asked.toml") && !message.contains('\n'), "{message}");
        message
    }

    #[test]
    fn an_unknown_key_is_refused_with_the_nearest() {
        for (text, nearest) in [
            ("[training]\nepoch = 3", "training.epochs"),
            ("epochs = 3", "training.epochs"),
            ("[training]\nlearning_rate = 0.1", "training.learning-rate"),
            ("[training.augmentation]\nrotatoin = 3", "training.augmentation.rotation"),
            ("[los]\nname = 'arcface'", "loss"),
            ("[data]\nvalidation-splitt = 'none'", "data.validation-split"),
        ] {
            let message = refused(text.as_bytes());
            assert!(message.contains(&format!("did you mean {nearest}?")), "{text}: {message}");
        }
        let message = refused(b"[loss.spec]\nmargin = 3\ngeometri = 'cosine'");
        assert!(message.contains("did you mean loss.spec.geometry?"), "{message}");
        let message = refused(b"[training]\nzzz = 1");
        assert!(message.contains("training.zzz") && !message.contains("did you mean"), "{message}");
    }

    #[test]
    fn what_is_not_toml_or_of_the_wrong_kind_is_refused_by_its_line() {
        for (text, line) in [
            ("[training]\nepochs 3", "line 2"),
            ("{\"training\": {}}", "line 1"),
            ("[training]\n\nepochs = 'many'", "line 3"),
            ("[training]\nepochs = -1", "line 2"),
            ("[training]\nschedule = 'sine'", "line 2"),
            ("training = 3", "line 1"),
            ("[data]\ntest-split = 'some'", "line 2"),
        ] {
            let message = refused(text.as_bytes());
            assert!(message.contains(line), "{text}: {message}");
        }
        assert!(refused(&[0xff, 0xfe, 0]).contains("UTF-8"));
        assert!(refused(b"format = 1").contains("format 1"));
    }

    #[test]
    fn an_empty_file_asks_for_nothing_and_a_missing_one_is_refused() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("asked.toml");
        assert_eq!(Request::read(&path).unwrap_err().exit_code(), 2);
        fs::write(&path, "").unwrap();
        assert_eq!(Request::read(&path).unwrap(), Request::default());
    }
}
