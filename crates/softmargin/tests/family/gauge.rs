//! Keeps the worst error, as a fraction of what is allowed, and every failure.

use std::collections::BTreeMap;

/// Compares numbers of several kinds, and fails at the end with all that is wrong, not at the first.
pub(crate) struct Gauge {
    test: &'static str,
    kinds: BTreeMap<String, Worst>,
    failures: Vec<String>,
}

#[derive(Default)]
struct Worst {
    compared: usize,
    ratio: f64,
    place: String,
}

impl Gauge {
    pub(crate) fn new(test: &'static str) -> Self {
        Self { test, kinds: BTreeMap::new(), failures: Vec::new() }
    }

    /// Compares one number; infinities must be equal, and NaN is wanted where NaN is.
    pub(crate) fn check(&mut self, kind: &str, place: impl Fn() -> String, got: f64, want: f64, allowed: f64) {
        let same = got == want || (got.is_nan() && want.is_nan());
        let ratio = if same { 0.0 } else { (got - want).abs() / allowed };
        if ratio.is_nan() || ratio > 1.0 {
            self.failures.push(format!("{}: {kind} is {got:e}, expected {want:e}, allowed error {allowed:e}", place()));
        }
        if !self.kinds.contains_key(kind) {
            self.kinds.insert(kind.to_owned(), Worst::default());
        }
        let Some(worst) = self.kinds.get_mut(kind) else { return };
        worst.compared += 1;
        if ratio > worst.ratio {
            worst.ratio = ratio;
            worst.place = place();
        }
    }

    /// Notes something that is wrong and is no number.
    pub(crate) fn fail(&mut self, what: String) {
        self.failures.push(what);
    }

    /// How many numbers were compared.
    pub(crate) fn compared(&self) -> usize {
        self.kinds.values().map(|worst| worst.compared).sum()
    }

    /// Prints the worst of each kind; panics if anything was wrong, or if fewer numbers were compared than expected.
    pub(crate) fn finish(self, at_least: usize) {
        for (kind, worst) in &self.kinds {
            let Worst { compared, ratio, place } = worst;
            let place: String = place.replace('\n', " ").chars().take(90).collect();
            println!("{}: {kind}: {compared} numbers, worst {ratio:.3} of what is allowed: {place}", self.test);
        }
        let shown: Vec<&str> = self.failures.iter().take(12).map(String::as_str).collect();
        assert!(shown.is_empty(), "{}: {} wrong:\n{}", self.test, self.failures.len(), shown.join("\n"));
        let compared = self.compared();
        assert!(compared >= at_least, "{}: only {compared} numbers were compared", self.test);
    }
}
