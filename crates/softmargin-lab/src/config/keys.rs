//! Every key of a configuration, with its meaning: the comments of `config.toml`, docs/configuration.md and the nearest
//! name of an unknown key come from one table.

use std::fmt::Write;
use toml::{Table, Value};

/// A key of a configuration.
#[derive(Clone, Copy, Debug)]
pub struct Key {
    /// Its section and name, as `training.epochs`.
    pub path: &'static str,
    /// The flag of `softmargin train` that sets it; empty where there is none.
    pub flag: &'static str,
    /// What holds where nothing is said.
    pub default: &'static str,
    /// What it means.
    pub meaning: &'static str,
}

const fn key(path: &'static str, flag: &'static str, default: &'static str, meaning: &'static str) -> Key {
    Key { path, flag, default, meaning }
}

/// All keys, in the order of their sections.
pub const KEYS: &[Key] = &[
    key("format", "", "2", "version of this layout; another is refused"),
    key(
        "data.source",
        "--data",
        "digits",
        "'digits', or a folder of images, IDX files or embeddings; a relative path starts where the command is run",
    ),
    key("data.image-size", "--image-size", "by the data", "side to which images are brought, in pixels, 8 to 512"),
    key(
        "data.test-split",
        "--test-split",
        "every:5",
        "samples of each class that test, in name order: 'every:N' or 'last:N'; for data without a test part of their own",
    ),
    key(
        "data.validation-split",
        "--validation-split",
        "every:10",
        "training samples of each class that choose the best model, in the same words: highest accuracy, on ties the later; 'none': the last model is the best",
    ),
    key(
        "data.memory",
        "",
        "a quarter of the machine's",
        "bytes that decoded images may take; more are read again from their files",
    ),
    key("data.classes", "", "by the data", "count of classes; data with another count are refused"),
    key(
        "input.kind",
        "",
        "by the data",
        "'images' or 'embeddings'; like all of [input], data that do not agree are refused",
    ),
    key("input.channels", "", "by the data", "1: gray, 3: color"),
    key("input.height", "", "by the data", "rows of an image"),
    key("input.width", "", "by the data", "columns of an image"),
    key(
        "input.ink",
        "",
        "by the data",
        "'light-on-dark', 'dark-on-light': image files with the other direction are inverted; 'as-is': none are",
    ),
    key("input.size", "", "by the data", "numbers in an embedding of the data"),
    key("normalization.mean", "", "by the training data", "taken from every value of a sample"),
    key("normalization.std", "", "by the training data", "what values are divided by then, above 0"),
    key("loss.name", "--loss", "am-softmax", "a preset; 'softmargin losses' shows them"),
    key(
        "loss.scale",
        "--scale",
        "the loss's own",
        "what scores are multiplied by; where a learned scale starts; wins over loss.spec",
    ),
    key(
        "loss.margin",
        "--margin",
        "the loss's own",
        "numbers of the margin, a list, in radians where it is an angle; wins over loss.spec",
    ),
    key(
        "loss.spec",
        "",
        "the preset's",
        "parts of the loss in place of the preset's; 'softmargin losses NAME --json' shows all",
    ),
    key("loss.spec.geometry", "", "the preset's", "how scores are made of embeddings and prototypes"),
    key("loss.spec.scale", "", "the preset's", "what scores are multiplied by: fixed, or learned within bounds"),
    key("loss.spec.margin", "", "the preset's", "what becomes of the target's score"),
    key("loss.spec.negatives", "", "the preset's", "what becomes of the other scores"),
    key("loss.spec.comparison", "", "the preset's", "how the target is set against the others"),
    key("loss.spec.sub-centers", "", "the preset's", "prototypes a class, of which the best one counts"),
    key("loss.spec.regularizer", "", "the preset's", "a term on the norms of the embeddings"),
    key("loss.spec.class-weights", "", "none", "loss weighting: one weight a class, 0 or above"),
    key("loss.spec.ignored-label", "", "none", "not for training here: leave such samples out of the data"),
    key(
        "network.kind",
        "",
        "by the data",
        "'convolutional' for images; 'projection': a linear map and batch normalization; 'none': the values are the embedding",
    ),
    key("network.image", "", "by the data", "channels, height and width, as the data have them; for 'convolutional'"),
    key("network.inputs", "", "by the data", "values of a sample, as the data have them; for 'projection' and 'none'"),
    key(
        "network.embedding",
        "--embedding-size",
        "128",
        "numbers in an embedding; given for data of embeddings, they are projected",
    ),
    key("network.convolutions", "", "by the size of the images", "the convolutions, first to last"),
    key("network.convolutions.channels", "", "", "channels that come out"),
    key("network.convolutions.stride", "", "", "2 halves the image, 1 keeps its size"),
    key("network.convolutions.pool", "", "", "whether a 2 x 2 maximum follows"),
    key("network.convolutions.skip", "", "", "whether the input is added to the output"),
    key("training.epochs", "--epochs", "2100 / sqrt(samples), 10 to 100", "passes over the training samples"),
    key(
        "training.batch-size",
        "--batch-size",
        "a tenth of the samples, 8 to 64",
        "samples a step at most, 2 or more; batches are of even size, none is dropped",
    ),
    key("training.learning-rate", "--lr", "0.1; 0.002 with adamw", "the highest learning rate of the schedule"),
    key(
        "training.schedule",
        "--schedule",
        "cosine",
        "'cosine': a line up, half a cosine down to 0; 'one-cycle': half a cosine up from a 25th and down to 0; 'constant': a line up, then level",
    ),
    key(
        "training.warm-up",
        "--warm-up",
        "0.2",
        "share of the steps in which the rate rises, from 0 up to, not including, 1",
    ),
    key(
        "training.weight-decay",
        "--weight-decay",
        "0.0005; 0.05 with adamw",
        "decay of matrices and kernels; biases, scales and shifts have none",
    ),
    key(
        "training.gradient-limit",
        "--gradient-limit",
        "none",
        "longest gradient, all parameters taken as one vector; longer ones are shortened to it",
    ),
    key(
        "training.patience",
        "--patience",
        "none",
        "epochs without a higher accuracy or a lower loss on the validation samples, after which training stops",
    ),
    key("training.seed", "--seed", "0", "fixes every random choice"),
    key("training.device", "--device", "cpu", "where to compute: 'cpu', 'cuda' or 'wgpu'"),
    key("training.optimizer.kind", "--optimizer", "sgd", "'sgd' with Nesterov's momentum, or 'adamw'"),
    key("training.optimizer.momentum", "", "0.9", "sgd: what is kept of the last step's direction"),
    key("training.optimizer.beta-1", "", "0.9", "adamw: what is kept of the mean gradient"),
    key("training.optimizer.beta-2", "", "0.999", "adamw: what is kept of the mean squared gradient"),
    key("training.optimizer.epsilon", "", "1e-8", "adamw: added to the root of the mean squared gradient"),
    key("training.augmentation.unchanged", "", "0.5", "share of the training images that are left as they are"),
    key("training.augmentation.rotation", "", "by the epochs, up to 10", "largest rotation either way, in degrees"),
    key(
        "training.augmentation.scale",
        "",
        "by the epochs, up to 0.1",
        "largest relative change of size, height and width apart",
    ),
    key(
        "training.augmentation.shift",
        "",
        "by the epochs, up to 0.1",
        "largest shift either way, as a part of the side",
    ),
    key("training.augmentation.shear", "", "by the epochs, up to 0.1", "largest shear either way, as a slope"),
    key("training.augmentation.contrast", "", "by the epochs, up to 0.1", "largest relative change of contrast"),
    key(
        "training.augmentation.cut-out",
        "",
        "0",
        "largest side of the square that is erased, as a part of the image's side",
    ),
];

/// Below a key of which the table knows no more, its content is checked when it is read.
const OPEN: &str = "loss.spec.";

/// The flag that sets a key, or the key where there is none: what a message calls it.
pub(super) fn name(path: &str) -> String {
    let known = KEYS.iter().find(|key| key.path == path);
    known.filter(|key| !key.flag.is_empty()).map_or_else(|| path.to_owned(), |key| key.flag.to_owned())
}

/// What to do about a value that a key does not take.
pub(super) fn advice(path: &str) -> String {
    let default = KEYS.iter().find(|key| key.path == path).map(|key| key.default).filter(|default| !default.is_empty());
    default
        .map_or_else(|| "see docs/configuration.md".into(), |default| format!("where nothing is said it is: {default}"))
}

/// The meaning of a key.
pub(super) fn meaning(path: &str) -> Option<&'static str> {
    KEYS.iter().find(|key| key.path == path).map(|key| key.meaning)
}

/// A key that there is not, and the nearest that there is.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Unknown {
    pub(super) key: String,
    pub(super) nearest: Option<&'static str>,
}

/// The first key of a table that there is not.
pub(super) fn unknown(table: &Table) -> Option<Unknown> {
    unknown_below("", table)
}

fn unknown_below(section: &str, table: &Table) -> Option<Unknown> {
    table.iter().find_map(|(name, value)| {
        let path = if section.is_empty() { name.clone() } else { format!("{section}.{name}") };
        if !is_known(&path) {
            return Some(Unknown { nearest: nearest(&path), key: path });
        }
        let is_open = path.starts_with(OPEN);
        match value {
            Value::Table(below) if !is_open => unknown_below(&path, below),
            Value::Array(rows) if !is_open => {
                rows.iter().filter_map(Value::as_table).find_map(|row| unknown_below(&path, row))
            }
            _ => None,
        }
    })
}

/// Whether a path is a key, or a section that has keys.
fn is_known(path: &str) -> bool {
    paths().any(|known| known == path)
}

/// All keys, and the sections that have any.
fn paths() -> impl Iterator<Item = &'static str> {
    KEYS.iter().flat_map(|key| {
        let ends = key.path.match_indices('.').map(|(at, _)| at).chain(std::iter::once(key.path.len()));
        ends.map(|end| &key.path[..end])
    })
}

/// The known key most like an unknown one, if any is: its last word counts, or the whole.
fn nearest(path: &str) -> Option<&'static str> {
    const LIKE: f64 = 0.85;
    let wanted = path.to_lowercase().replace(['_', ' '], "-");
    let last = |path: &str| path.rsplit('.').next().unwrap_or_default().to_owned();
    let same_section = |known: &str| {
        known.rsplit_once('.').map(|(section, _)| section) == wanted.rsplit_once('.').map(|(section, _)| section)
    };
    let likeness = |known: &str| {
        let words = strsim::jaro_winkler(&last(&wanted), &last(known));
        // Of two that are as like, the one of the same section.
        words + if same_section(known) { 0.05 } else { 0.0 }
    };
    let scored = paths().map(|known| (likeness(known), known));
    let best = scored.fold(
        None,
        |best: Option<(f64, &str)>, one| if best.is_some_and(|best| best.0 >= one.0) { best } else { Some(one) },
    );
    best.filter(|(likeness, _)| *likeness >= LIKE).map(|(_, known)| known)
}

const HEAD: &str = "# Configuration

`softmargin train --config FILE` takes a TOML file with any part of the keys below. Every run directory has a
`config.toml` with all that the run was made with: `softmargin train --config run-1/config.toml` makes the same model
again, to the bit, from the same data on the same kind of processor (a run that was interrupted goes to its end).

Flags win over the file. A flag that names another loss, optimizer or data set sets aside what the file says of the one
it had: `--data` the sections `[data]`, `[input]`, `[normalization]` and `[network]`, and counts of classes; `--image-size` what
`[input]`, `[normalization]` and `[network]` say of the size; `--loss` the section `[loss]`; `--optimizer` the section
`[training.optimizer]`, learning rate and weight decay.

A key that is not listed here is refused, and so is a key that has no effect: `network.convolutions` of a network
without convolutions, `training.augmentation` of embeddings.

```toml
[data]
source = \"photos\"
validation-split = \"last:3\"

[loss]
name = \"arcface\"
scale = 32
margin = [0.3]

[training]
epochs = 30
patience = 8
optimizer = { kind = \"adamw\" }
augmentation = { rotation = 0, cut-out = 0.25 }
```
";

/// The page docs/configuration.md.
#[must_use]
pub fn reference() -> String {
    let mut page = HEAD.to_owned();
    let mut section = None;
    for key in KEYS {
        let (own, name) = key.path.rsplit_once('.').unwrap_or(("", key.path));
        if section != Some(own) {
            section = Some(own);
            let title = if own.is_empty() { "At the top".into() } else { format!("`[{own}]`") };
            let _ =
                write!(page, "\n## {title}\n\n| key | flag | where nothing is said | meaning |\n|---|---|---|---|\n");
        }
        let flag = if key.flag.is_empty() { String::new() } else { format!("`{}`", key.flag) };
        let _ = writeln!(page, "| `{name}` | {flag} | {} | {} |", key.default, key.meaning);
    }
    page
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `UPDATE_DOCS=1 cargo test` writes the page.
    #[test]
    fn the_page_in_docs_is_current() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/configuration.md");
        if std::env::var_os("UPDATE_DOCS").is_some() {
            std::fs::write(path, reference()).unwrap();
        }
        let page = std::fs::read_to_string(path).unwrap();
        assert!(page == reference(), "docs/configuration.md is not what UPDATE_DOCS=1 would write");
    }

    #[test]
    fn every_key_is_there_once_and_has_a_meaning() {
        for (at, key) in KEYS.iter().enumerate() {
            assert!(!key.meaning.is_empty() && !key.meaning.contains(['\n', '|']), "{}", key.path);
            assert!(KEYS[..at].iter().all(|other| other.path != key.path), "{}", key.path);
        }
    }

    #[test]
    fn messages_name_the_flag_where_there_is_one() {
        assert_eq!(name("training.learning-rate"), "--lr");
        assert_eq!(name("training.optimizer.momentum"), "training.optimizer.momentum");
    }
}
