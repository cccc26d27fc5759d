//! `softmargin losses`: all losses as a table, or one in detail.

use crate::answer::json;
use crate::args::{Common, LossesOptions};
use crate::terminal::{display_width, stdout_width, wrap};
use serde::Serialize;
use softmargin::presets::{self, MarginParameter, Preset};
use softmargin::{LossSpec, Margin, Scale};
use softmargin_lab::Error;
use std::fmt::Write;

/// A loss in the JSON output.
#[derive(Serialize)]
struct Description {
    name: &'static str,
    aliases: &'static [&'static str],
    summary: &'static str,
    equation: &'static str,
    gradient: &'static str,
    paper: &'static str,
    scale: f64,
    margin: Vec<f64>,
    spec: LossSpec,
}

#[derive(Serialize)]
struct Family {
    losses: Vec<Description>,
}

pub(crate) fn run(options: &LossesOptions, common: &Common) -> Result<String, Error> {
    match &options.name {
        None if common.json => json(&Family { losses: presets::all().iter().map(describe).collect() }),
        None => Ok(narrowed(&table(), stdout_width())),
        Some(name) => {
            let preset = presets::find(name)?;
            if common.json { json(&describe(preset)) } else { Ok(wrap(&page(preset), stdout_width(), CONTENT)) }
        }
    }
}

fn describe(preset: &Preset) -> Description {
    Description {
        name: preset.name,
        aliases: preset.aliases,
        summary: preset.summary,
        equation: preset.equation,
        gradient: preset.gradient,
        paper: preset.paper,
        scale: preset.spec().scale.initial(),
        margin: preset.default_margin(),
        spec: preset.spec(),
    }
}

fn table() -> String {
    let rows: Vec<[String; 4]> = presets::all()
        .iter()
        .map(|preset| [preset.name.into(), scale(preset), margin(preset), summary(preset)])
        .collect();
    let head = ["loss", "scale", "margin", "summary"].map(String::from);
    let width =
        |column: usize| rows.iter().chain([&head]).map(|row| row[column].chars().count()).max().unwrap_or_default();
    let widths = [width(0), width(1), width(2)];
    let mut text = String::new();
    for [name, scale, margin, summary] in std::iter::once(&head).chain(&rows) {
        let [first, second, third] = widths;
        let _ = writeln!(text, "{name:<first$}  {scale:<second$}  {margin:<third$}  {summary}");
    }
    text + "\n'softmargin losses NAME' shows one in detail; 'softmargin train --loss NAME' trains with it."
}

/// Fits the table to a terminal: on one too narrow for a line, each summary is on lines of its own.
fn narrowed(table: &str, width: Option<usize>) -> String {
    let Some(width) = width.filter(|&width| table.lines().any(|line| display_width(line) > width)) else {
        return table.into();
    };
    let (Some(summary), 40..) = (table.lines().next().and_then(|head| head.find("summary")), width) else {
        return wrap(table, Some(width), 2);
    };
    let fit = |line: &str| match line.char_indices().nth(summary) {
        Some((at, first)) if line[..at].ends_with("  ") && first != ' ' => {
            format!("{}\n    {}", line[..at].trim_end(), &line[at..])
        }
        _ => line.to_owned(),
    };
    let lines: Vec<String> = table.lines().map(fit).collect();
    wrap(&lines.join("\n"), Some(width), 4)
}

fn scale(preset: &Preset) -> String {
    match preset.spec().scale {
        Scale::Learned { initial, .. } => format!("{initial}, learned"),
        scale => scale.initial().to_string(),
    }
}

/// Returns the summary and the aliases.
fn summary(preset: &Preset) -> String {
    if preset.aliases.is_empty() {
        return preset.summary.into();
    }
    format!("{} (also {})", preset.summary, preset.aliases.join(", "))
}

/// Returns the margin values with their unit: radians added to an angle, a factor or divisor of an angle, or units of
/// the
fn margin(preset: &Preset) -> String {
    let numbers = numbers(&preset.default_margin());
    let margin = match preset.margin {
        MarginParameter::None(_) => return "none".into(),
        MarginParameter::Score => numbers,
        MarginParameter::Plus => format!("{numbers} rad"),
        MarginParameter::Times => format!("x {numbers}"),
        MarginParameter::Combined => format!("{numbers} (x, rad, score)"),
        MarginParameter::DrawnPlus => format!("{numbers} rad, drawn"),
        MarginParameter::DrawnScore => format!("{numbers}, drawn"),
        MarginParameter::Largest => format!("{numbers}, by class"),
        MarginParameter::Standardized => format!("{numbers} (rad, score), by norm"),
        MarginParameter::Linear => format!("{numbers} rad, by norm"),
        MarginParameter::Divisor => format!("/ {numbers}"),
    };
    if is_annealed(preset) { format!("{margin}, annealed") } else { margin }
}

fn is_annealed(preset: &Preset) -> bool {
    matches!(preset.spec().margin, Margin::Angle(angle) if angle.anneal.is_some())
}

fn numbers(numbers: &[f64]) -> String {
    numbers.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
}

/// The symbols of equations and gradients.
const SYMBOLS: &str = "z_j the score of class j, y the target, s the scale, m the margin; cos_j and theta_j cosine and \
angle between embedding x and prototype w_j; LSE log-sum-exp; p softmax over all classes, q over all but the target; \
sigma(t) = 1 / (1 + e^-t), t the argument of softplus";

/// The column at which the content of a page starts.
const CONTENT: usize = 12;

fn page(preset: &Preset) -> String {
    let mut text = format!("{}: {}\n\n", preset.name, preset.summary);
    let mut line = |name: &str, content: &str| {
        let _ = writeln!(text, "  {name:<10}{content}");
    };
    if !preset.aliases.is_empty() {
        line("also", &preset.aliases.join(", "));
    }
    line("equation", preset.equation);
    line("gradient", preset.gradient);
    line("symbols", SYMBOLS);
    line("paper", preset.paper);
    line("flags", &flags(preset));
    if let MarginParameter::None(instead) = preset.margin {
        line("", &format!("no --margin: {instead}"));
    }
    line("", &format!("softmargin train --loss {}", preset.name));
    text
}

/// Returns the flags with their default values and meanings.
fn flags(preset: &Preset) -> String {
    let scale = match preset.spec().scale {
        Scale::Learned { initial, min, max } => {
            format!("--scale {initial} (initial value; learned, from {min} to {max})")
        }
        scale => format!("--scale {}", scale.initial()),
    };
    let meaning = match preset.margin {
        MarginParameter::None(_) => return scale,
        MarginParameter::Score => "on the score",
        MarginParameter::Plus => "radians, added to the angle",
        MarginParameter::Times => "multiplies the angle",
        MarginParameter::Combined => "multiplies the angle, is added to it in radians, is subtracted from its cosine",
        MarginParameter::DrawnPlus => "radians, the mean of a drawn value that is added to the angle",
        MarginParameter::DrawnScore => "the mean of a drawn value that is subtracted from the score",
        MarginParameter::Largest => "on the score of the rarest class",
        MarginParameter::Standardized => "radians on the angle and as much on the cosine, moved by the norm",
        MarginParameter::Linear => "radians, added to the angles of the smallest and of the largest norms",
        MarginParameter::Divisor => "divides the angles of the negatives",
    };
    format!("{scale}  --margin {} ({meaning})", numbers(&preset.default_margin()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_margin_comes_with_its_unit() {
        let shown = |name| margin(presets::find(name).unwrap());
        assert_eq!(shown("cross-entropy"), "none");
        assert_eq!(shown("am-softmax"), "0.35");
        assert_eq!(shown("arcface"), "0.5 rad");
        assert!(shown("sphereface").starts_with("x 4"), "{}", shown("sphereface"));
    }

    #[test]
    fn the_table_fits_a_terminal() {
        let table = table();
        for width in [40, 80, 120] {
            let fitted = narrowed(&table, Some(width));
            assert!(fitted.lines().all(|line| line.chars().count() <= width), "{width}:\n{fitted}");
            let words = |text: &str| text.split_whitespace().map(String::from).collect::<Vec<_>>();
            assert_eq!(words(&fitted), words(&table));
        }
        assert_eq!(narrowed(&table, None), table);
    }

    #[test]
    fn every_loss_has_a_line_in_the_table_and_a_page() {
        let table = table();
        for preset in presets::all() {
            let has_line = table.lines().any(|line| line.starts_with(preset.name) && line.contains(preset.summary));
            assert!(has_line, "{} has no line:\n{table}", preset.name);
            assert!(preset.names().all(|name| table.contains(name)), "{} lacks a name:\n{table}", preset.name);
            let page = page(preset);
            for part in [preset.equation, preset.gradient, preset.paper] {
                assert!(!part.is_empty() && page.contains(part), "{page}");
            }
        }
    }
}
