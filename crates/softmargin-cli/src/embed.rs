//! `softmargin embed`.

use crate::answer::{Answer, FailedFile, complain, json, note, prose};
use crate::args::{Common, EmbedOptions};
use crate::waiting::waiting;
use serde::Serialize;
use softmargin_lab::commands::{EmbedRequest, EmbedSummary};
use softmargin_lab::data::wording::{counted, printable};
use softmargin_lab::{Error, embed};

/// The output of `--json`.
#[derive(Serialize)]
struct Output<'a> {
    #[serde(flatten)]
    embedded: &'a EmbedSummary,
    failures: Vec<FailedFile>,
}

pub(crate) fn run(options: &EmbedOptions, common: &Common) -> Result<Answer, Error> {
    let request = EmbedRequest {
        run: &options.run,
        data: &options.data,
        part: options.part.map(Into::into),
        out: &options.out,
        device: common.device(),
    };
    let embedded = embed(&request, waiting(common.quiet))?;
    note(&embedded.notes, common);
    complain(&embedded.failures);
    let partial = !embedded.failures.is_empty();
    if common.json {
        let failures = FailedFile::all(&embedded.failures);
        return Ok(Answer { text: json(&Output { embedded: &embedded, failures })?, partial });
    }
    let EmbedSummary { out, samples, size, files, .. } = &embedded;
    let files: Vec<String> = files.iter().map(|file| printable(&file.display().to_string()).into_owned()).collect();
    let text = format!(
        "{} of dimension {size} in {}\n{}",
        counted(*samples, "embedding"),
        printable(&out.display().to_string()),
        files.join("\n")
    );
    Ok(Answer { text: prose(&text), partial })
}
