//! Progress of a training run, on standard error: a bar with the remaining time on a terminal; otherwise a line per
//! epoch and at least every ten seconds.

use crate::answer::say;
use crate::interrupt;
use crate::waiting::{PLAIN_EVERY, left, style};
use indicatif::{HumanCount, HumanDuration, ProgressBar, ProgressDrawTarget};
use softmargin_lab::observer::{Observer, Outline, Step};
use softmargin_lab::run::EpochRecord;
use std::cell::Cell;
use std::io::IsTerminal;
use std::path::PathBuf;
use std::time::{Duration, Instant};

pub(crate) struct Progress {
    quiet: bool,
    terminal: bool,
    bar: ProgressBar,
    epochs: usize,
    images: usize,
    start: Instant,
    said: Instant,
    /// The last validation accuracy, as shown on a terminal.
    validation: String,
    draft: PathBuf,
    /// True once an interrupt was reported.
    ending: Cell<bool>,
}

impl Progress {
    /// Creates the display of a training run. With `quiet`, nothing is printed.
    pub(crate) fn new(quiet: bool) -> Self {
        let now = Instant::now();
        Self {
            quiet,
            terminal: !quiet && std::io::stderr().is_terminal(),
            bar: ProgressBar::hidden(),
            epochs: 0,
            images: 0,
            start: now,
            said: now,
            validation: String::new(),
            draft: PathBuf::new(),
            ending: Cell::new(false),
        }
    }

    /// Prints a line, above the bar if there is one.
    fn say(&self, line: &str) {
        if self.quiet {
            return;
        }
        if self.terminal {
            self.bar.suspend(|| say(line));
        } else {
            say(line);
        }
    }

    fn left(&self, images: usize) -> Duration {
        left(self.start.elapsed(), images, self.images)
    }
}

fn percent(share: f64) -> String {
    format!("{:.2} %", 100.0 * share)
}

impl Observer for Progress {
    fn begins(&mut self, outline: &Outline) {
        self.epochs = outline.epochs;
        self.images = outline.images;
        self.start = Instant::now();
        self.said = self.start;
        self.draft = outline.draft.clone();
        if !interrupt::listen() {
            self.say("note   Ctrl-C cannot be caught here: it ends the run without a model");
        }
        let count = |number: usize| HumanCount(number as u64);
        self.say(&format!("data   {}", outline.data));
        self.say(&format!("split  {}", outline.split));
        for note in &outline.notes {
            self.say(&format!("note   {note}"));
        }
        self.say(&format!(
            "train  {} samples, {} for validation, {} for the test at the end; {} classes, {} parameters, loss {}, {} {}",
            count(outline.train_images),
            count(outline.validation_images),
            count(outline.test_images),
            count(outline.classes),
            count(outline.parameters),
            outline.loss,
            count(outline.epochs),
            if outline.epochs == 1 { "epoch" } else { "epochs" },
        ));
        if self.terminal {
            self.bar = ProgressBar::with_draw_target(Some(outline.images as u64), ProgressDrawTarget::stderr());
            let style = style("{prefix} {wide_bar:.blue/dim} {msg}  {per_sec:>8} images/s  {eta:>4} left");
            let per_second = |state: &indicatif::ProgressState, out: &mut dyn std::fmt::Write| {
                let _ = write!(out, "{:.0}", state.per_sec());
            };
            self.bar.set_style(style.with_key("per_sec", per_second));
        }
    }

    fn stepped(&mut self, step: &Step) {
        let state = format!("loss {:.3}  running accuracy {}{}", step.loss, percent(step.accuracy), self.validation);
        if self.terminal {
            self.bar.set_prefix(format!("epoch {}/{}", step.epoch, self.epochs));
            self.bar.set_message(state);
            self.bar.set_position(step.images as u64);
        } else if self.said.elapsed() >= PLAIN_EVERY {
            self.said = Instant::now();
            let left = HumanDuration(self.left(step.images));
            self.say(&format!("epoch {}/{}: {state}, {left} left", step.epoch, self.epochs));
        }
    }

    fn finished_epoch(&mut self, epoch: &EpochRecord) {
        let validation = epoch
            .validation_accuracy
            .map_or_else(String::new, |accuracy| format!("  validation accuracy {}", percent(accuracy)));
        if self.terminal {
            self.validation = validation;
            return;
        }
        self.said = Instant::now();
        let left = HumanDuration(self.left(self.images / self.epochs.max(1) * epoch.epoch));
        self.say(&format!(
            "epoch {}/{}  loss {:.4}  running accuracy {}{validation}  {:.0} images/s  {left} left",
            epoch.epoch,
            self.epochs,
            epoch.loss,
            percent(epoch.accuracy),
            epoch.images_per_second,
        ));
    }

    fn test_begins(&mut self) {
        self.bar.finish();
    }

    fn interrupted(&self) -> bool {
        let asked = interrupt::asked();
        if asked && !self.ending.replace(true) {
            let kept = self.draft.display();
            self.say(&format!(
                "interrupted: the best model so far is tested and saved; a second interrupt ends at once and leaves {kept}"
            ));
        }
        asked
    }
}
