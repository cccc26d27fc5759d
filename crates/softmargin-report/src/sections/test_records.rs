//! Records for the tests of the sections.

use crate::records::{ClassRecord, ConfusionRecord, EvaluationRecord};

/// Returns the record of samples, each given as its class and the class that it was predicted as. The loss is 0.5 and
/// means are 0.
pub(crate) fn evaluation(num_classes: usize, samples: &[(usize, usize)]) -> EvaluationRecord {
    let count = |of: &dyn Fn(&(usize, usize)) -> bool| samples.iter().filter(|sample| of(sample)).count();
    let share = |part: usize, whole: usize| (whole > 0).then(|| part as f64 / whole as f64);
    let class = |index: usize| {
        let (support, predicted) = (count(&|sample| sample.0 == index), count(&|sample| sample.1 == index));
        let correct = count(&|sample| *sample == (index, index));
        ClassRecord {
            name: format!("class <{index}>"),
            samples: support,
            correct,
            precision: share(correct, predicted),
            recall: share(correct, support),
            f1: share(2 * correct, support + predicted),
        }
    };
    let pairs = (0..num_classes).flat_map(|class| (0..num_classes).map(move |predicted| (class, predicted)));
    let confusions = pairs.filter(|(class, predicted)| class != predicted).map(|(class, predicted)| ConfusionRecord {
        class,
        predicted,
        count: count(&|sample| *sample == (class, predicted)),
    });
    EvaluationRecord {
        samples: samples.len(),
        accuracy: count(&|sample| sample.0 == sample.1) as f64 / samples.len() as f64,
        loss: 0.5,
        mean_recall: 0.0,
        mean_f1: 0.0,
        classes: (0..num_classes).map(class).collect(),
        confusions: confusions.filter(|confusion| confusion.count > 0).collect(),
    }
}
