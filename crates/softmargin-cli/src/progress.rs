//! Progress of a training run, on standard error: a bar with the remaining time on a terminal; otherwise a line per
//! epoch and at least every ten seconds.

use crate::answer::say;
use crate::interrupt;
use crate::live_line::LiveLine;
use crate::pace::Pace;
use crate::terminal::stderr_width;
use crate::waiting::{PLAIN_EVERY, Reading};
use indicatif::HumanDuration;
use softmargin_lab::data::wording::{counted, grouped, percent};
use softmargin_lab::observer::{Observer, Outline, Step};
use softmargin_lab::run::{EpochRecord, UnfinishedRun};
use std::cell::Cell;
use std::path::PathBuf;
use std::time::Instant;

pub(crate) struct Progress {
    quiet: bool,
    terminal: bool,
    /// Until training begins.
    reading: Option<Reading>,
    line: LiveLine,
    epochs: usize,
    /// The number of samples in all epochs together.
    samples: usize,
    pace: Pace,
    /// The last step.
    step: Option<Step>,
    said: Instant,
    /// The last validation accuracy, as shown on a terminal.
    validation: Option<f64>,
    draft: PathBuf,
    /// True once an interrupt was reported.
    ending: Cell<bool>,
}

impl Progress {
    /// Creates the display of a training run. With `quiet`, nothing is printed.
    pub(crate) fn new(quiet: bool) -> Self {
        Self {
            quiet,
            terminal: !quiet && stderr_width().is_some(),
            reading: Reading::begin(quiet),
            line: LiveLine::hidden(),
            epochs: 0,
            samples: 0,
            pace: Pace::new(),
            step: None,
            said: Instant::now(),
            validation: None,
            draft: PathBuf::new(),
            ending: Cell::new(false),
        }
    }

    /// Prints a line, above the live line if there is one.
    fn say(&self, line: &str) {
        if self.quiet {
            return;
        }
        if self.terminal {
            self.line.suspend(|| say(line));
        } else {
            say(line);
        }
    }

    /// Returns the remaining time after two spaces, once it can be estimated.
    fn left(&self) -> String {
        self.pace.left(self.samples).map(|left| format!("  {} left", HumanDuration(left))).unwrap_or_default()
    }
}

/// Returns the text of the live line, from the longest form to the shortest one.
fn states(step: &Step, validation: Option<f64>, pace: &Pace, samples: usize) -> [String; 6] {
    let loss = format!("loss {:.3}", step.loss);
    let running = percent(step.accuracy, 2);
    let validation = |name: &str| validation.map(|share| format!("  {name} {}", percent(share, 2))).unwrap_or_default();
    let speed =
        pace.speed().map(|speed| format!("  {} samples/s", grouped(speed.round() as usize))).unwrap_or_default();
    let left = pace.left(samples).map(|left| format!("  {:#} left", HumanDuration(left))).unwrap_or_default();
    [
        format!("{loss}  running accuracy {running}{}{speed}{left}", validation("validation accuracy")),
        format!("{loss}  running accuracy {running}{}{left}", validation("validation accuracy")),
        format!("{loss}  running {running}{}{left}", validation("validation")),
        format!("running {running}{}{left}", validation("validation")),
        format!("{loss}{left}"),
        left.trim_start().to_owned(),
    ]
}

/// Says what can be done with a run that was killed.
fn unfinished(UnfinishedRun { path, best_epoch }: &UnfinishedRun) -> String {
    let path = path.display();
    match best_epoch {
        Some(epoch) => format!(
            "note   an earlier run was killed; {path} has its best model so far, of epoch {epoch}: \
             use it as a run directory (softmargin evaluate {path}), or remove it"
        ),
        None => format!("note   an earlier run was killed before it had a model: {path} can be removed"),
    }
}

impl Observer for Progress {
    fn begins(&mut self, outline: &Outline) {
        self.reading = None;
        self.epochs = outline.epochs;
        self.samples = outline.images;
        self.said = Instant::now();
        self.draft = outline.draft.clone();
        if !interrupt::listen() {
            self.say("note   Ctrl-C cannot be caught here: it ends the run without a model");
        }
        self.say(&format!("data   {}", outline.data));
        self.say(&format!("split  {}", outline.split));
        for note in &outline.notes {
            self.say(&format!("note   {note}"));
        }
        outline.unfinished.iter().for_each(|run| self.say(&unfinished(run)));
        self.say(&format!(
            "train  {}, {} for validation, {} for the test at the end; {}, {}, loss {}, {}",
            counted(outline.train_images, "sample"),
            grouped(outline.validation_images),
            grouped(outline.test_images),
            counted(outline.classes, "class"),
            counted(outline.parameters, "parameter"),
            outline.loss,
            counted(outline.epochs, "epoch"),
        ));
        if self.terminal {
            self.line = LiveLine::new(outline.images);
        }
    }

    fn stepped(&mut self, step: &Step) {
        self.pace.add(step.images);
        self.step = Some(*step);
        if self.terminal {
            let texts = states(step, self.validation, &self.pace, self.samples);
            self.line.show(step.images, &format!("epoch {}/{}", step.epoch, self.epochs), &texts);
        } else if self.said.elapsed() >= PLAIN_EVERY {
            self.said = Instant::now();
            let (accuracy, left) = (percent(step.accuracy, 2), self.left());
            let line = format!("loss {:.4}  running accuracy {accuracy}{left}", step.loss);
            self.say(&format!("epoch {}/{}: {line}", step.epoch, self.epochs));
        }
    }

    fn finished_epoch(&mut self, epoch: &EpochRecord) {
        self.validation = epoch.validation_accuracy;
        if self.terminal {
            return;
        }
        self.said = Instant::now();
        let validation = epoch
            .validation_accuracy
            .map_or_else(String::new, |accuracy| format!("  validation accuracy {}", percent(accuracy, 2)));
        self.say(&format!(
            "epoch {}/{}  loss {:.4}  running accuracy {}{validation}  {} samples/s{}",
            epoch.epoch,
            self.epochs,
            epoch.loss,
            percent(epoch.accuracy, 2),
            grouped(epoch.images_per_second.round() as usize),
            self.left(),
        ));
    }

    fn test_begins(&mut self) {
        if let Some(step) = self.step {
            // Speed and remaining time are over.
            self.line.leave(&states(&step, self.validation, &Pace::new(), self.samples));
        }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::terminal::display_width;

    #[test]
    fn the_state_of_training_has_a_form_for_every_width() {
        let step = Step { epoch: 12, images: 1_000, loss: 1.23456, accuracy: 0.98765 };
        let texts = states(&step, Some(1.0), &Pace::new(), 2_000);
        assert_eq!(texts[2], "loss 1.235  running 98.77 %  validation 100.00 %");
        // Beside "epoch 12/30", a bar and "  59m left", a line of 80 columns has space for the validation accuracy.
        assert!(display_width(&texts[2]) <= 80 - "epoch 12/30".len() - 11 - "  59m left".len(), "{}", texts[2]);
        let widths = texts.map(|text| display_width(&text));
        assert!(widths.is_sorted_by(|longer, shorter| longer >= shorter), "{widths:?}");
    }
}
