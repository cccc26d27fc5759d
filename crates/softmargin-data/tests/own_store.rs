//! A new kind of data is one implementation of `SampleStore`: everything else works on it through the public API.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should panic, in its helpers too")]

use std::sync::Arc;

use softmargin::random::{Generator, Purpose};
use softmargin_data::{
    Augmentation, Dataset, Error, HoldOut, Ink, Input, LabeledSamples, LoadOptions, Normalization, Preparation, Sample,
    SampleKind, SampleStore, Samples, ahead,
};

const SIDE: usize = 8;
const COUNT: usize = 60;

/// Stripes, computed on request: horizontal in even rows, vertical in odd ones, of another phase and brightness in each.
#[derive(Debug)]
struct Stripes;

impl Stripes {
    fn pixels(row: usize) -> Vec<u8> {
        let pixel = |at: usize| {
            let along = if row.is_multiple_of(2) { at / SIDE } else { at % SIDE };
            let brightness = 100 + 2 * row;
            if (along + row / 2) % 4 < 2 { brightness as u8 } else { 20 }
        };
        (0..SIDE * SIDE).map(pixel).collect()
    }
}

impl SampleStore for Stripes {
    fn kind(&self) -> SampleKind {
        SampleKind::Image
    }

    fn shape(&self) -> [usize; 3] {
        [1, SIDE, SIDE]
    }

    fn count(&self) -> usize {
        COUNT
    }

    fn name(&self, row: usize) -> String {
        format!("stripes {row}")
    }

    fn read(&self, row: usize) -> Result<Sample<'_>, Error> {
        Ok(Sample::Image(Stripes::pixels(row).into()))
    }
}

fn input() -> Input {
    Input::Images(Preparation::new(1, SIDE, SIDE, Ink::AsIs).unwrap())
}

fn labeled(samples: Samples) -> LabeledSamples {
    let labels = (0..samples.count()).map(|row| (row % 2) as u32).collect();
    LabeledSamples::new(samples, labels).unwrap()
}

fn dataset(samples: Samples, options: &LoadOptions) -> Result<Dataset, Error> {
    let classes = vec!["horizontal".to_owned(), "vertical".to_owned()];
    Dataset::of_samples("stripes", "60 images of stripes", classes, input(), &labeled(samples), options)
}

fn in_memory() -> Samples {
    Samples::of_images((0..COUNT).flat_map(Stripes::pixels).collect(), [1, SIDE, SIDE]).unwrap()
}

fn batch(part: &LabeledSamples) -> Vec<f32> {
    let mut values = Vec::new();
    part.samples().batch_f32(&(0..part.len()).collect::<Vec<_>>(), &mut values).unwrap();
    values
}

#[test]
fn a_store_of_computed_images_is_divided_and_named_like_any_other() {
    let data = dataset(Samples::new(Arc::new(Stripes)).unwrap(), &LoadOptions::default()).unwrap();
    assert!(data.train.samples().is_streamed() && !in_memory().is_streamed());
    let validation = data.validation.as_ref().unwrap();
    assert_eq!((data.train.len(), validation.len(), data.test.len()), (44, 4, 12));
    assert_eq!(data.test.samples().name(0), "stripes 8", "the fifth horizontal one");
    assert!(
        data.split.starts_with("test set: every 5th image of each class in the order of the rows"),
        "{}",
        data.split
    );
    assert_eq!(data.fingerprint().len(), 16);
}

#[test]
fn its_batches_are_those_of_the_same_images_in_memory() {
    let options = LoadOptions { test_split: Some(HoldOut::Last(7)), ..LoadOptions::default() };
    let computed = dataset(Samples::new(Arc::new(Stripes)).unwrap(), &options).unwrap();
    let stored = dataset(in_memory(), &options).unwrap();
    let bits = |part: &LabeledSamples| batch(part).into_iter().map(f32::to_bits).collect::<Vec<_>>();
    for (ours, theirs) in [(&computed.train, &stored.train), (&computed.test, &stored.test)] {
        assert_eq!(bits(ours), bits(theirs));
        assert_eq!(ours.labels(), theirs.labels());
    }
    let normalization = |data: &Dataset| Normalization::of(data.train.samples()).unwrap();
    assert_eq!(normalization(&computed), normalization(&stored));
    assert_ne!(computed.train, stored.train, "other names");
    assert_eq!(computed.train, computed.train.clone());
    assert_ne!(computed.train.samples().select(&[0]), computed.train.samples().select(&[2]));
}

/// Softmax regression on embeddings that are the pixels' horizontal and vertical differences.
fn features(images: &[f32]) -> Vec<[f64; 3]> {
    let difference = |image: &[f32], step: usize| {
        let pairs = (0..SIDE * SIDE - SIDE - 1).map(|at| f64::from((image[at + step] - image[at]).abs()));
        pairs.sum::<f64>() / (SIDE * SIDE) as f64
    };
    images.chunks(SIDE * SIDE).map(|image| [difference(image, 1), difference(image, SIDE), 1.0]).collect()
}

#[test]
fn a_classifier_trains_on_it() {
    let data = dataset(Samples::new(Arc::new(Stripes)).unwrap(), &LoadOptions::default()).unwrap();
    let normalization = Normalization::of(data.train.samples()).unwrap();
    let augmentation = Augmentation::with_strength(0.2);
    let make = |step: usize| {
        let rows: Vec<usize> = (0..11).map(|index| (11 * step + index) % data.train.len()).collect();
        let (mut plain, mut changed) = (Vec::new(), Vec::new());
        data.train.samples().batch_f32(&rows, &mut plain)?;
        for (image, &row) in plain.chunks(SIDE * SIDE).zip(&rows) {
            let mut out = vec![0.0; SIDE * SIDE];
            let mut stream = Generator::new(1, Purpose::Augmentation, row as u64);
            augmentation.apply(image, [1, SIDE, SIDE], &mut stream, &mut out);
            changed.extend(out);
        }
        normalization.apply(&mut changed);
        Ok((features(&changed), rows))
    };
    let mut weight = [0.0; 3];
    let score = |weight: &[f64; 3], x: &[f64; 3]| weight.iter().zip(x).map(|(w, x)| w * x).sum::<f64>();
    ahead(400, make, |_, (inputs, rows)| {
        for (x, row) in inputs.iter().zip(rows) {
            let target = f64::from(data.train.labels()[row]);
            let error = target - 1.0 / (1.0 + (-score(&weight, x)).exp());
            weight.iter_mut().zip(x).for_each(|(w, x)| *w += 0.1 * error * x);
        }
        Ok(())
    })
    .unwrap();
    let mut test = batch(&data.test);
    normalization.apply(&mut test);
    let right =
        features(&test).into_iter().zip(data.test.labels()).filter(|(x, y)| (score(&weight, x) > 0.0) == (**y == 1));
    assert_eq!(right.count(), data.test.len());
}

/// A store whose kind, shape, values or reading are wrong.
#[derive(Debug)]
struct Wrong {
    kind: SampleKind,
    shape: [usize; 3],
    values: Result<Sample<'static>, &'static str>,
}

impl SampleStore for Wrong {
    fn kind(&self) -> SampleKind {
        self.kind
    }

    fn shape(&self) -> [usize; 3] {
        self.shape
    }

    fn count(&self) -> usize {
        3
    }

    fn name(&self, row: usize) -> String {
        format!("wrong {row}")
    }

    fn read(&self, row: usize) -> Result<Sample<'_>, Error> {
        self.values.clone().map_err(|found| Error::failure(self.name(row), "a file", found, ""))
    }
}

#[test]
fn a_store_that_breaks_its_promises_is_an_error() {
    let image = || Ok(Sample::Image(vec![1; 4].into()));
    let embedding = || Ok(Sample::Embedding(vec![1.0; 4].into()));
    for (kind, shape) in [
        (SampleKind::Image, [2, 1, 2]),
        (SampleKind::Image, [1, 0, 2]),
        (SampleKind::Embedding, [0, 1, 1]),
        (SampleKind::Embedding, [2, 2, 1]),
    ] {
        assert!(Samples::new(Arc::new(Wrong { kind, shape, values: image() })).is_err(), "{kind:?} {shape:?}");
    }
    for (kind, shape, values, found) in [
        (SampleKind::Image, [1, 2, 3], image(), "expected an image of 6 values, found an image of 4 values"),
        (SampleKind::Image, [1, 2, 2], embedding(), "expected an image of 4 values, found an embedding of 4 values"),
        (SampleKind::Embedding, [4, 1, 1], image(), "expected an embedding of 4 values, found an image of 4 values"),
        (SampleKind::Embedding, [4, 1, 1], Err("none"), "expected a file, found none; 1 more of the batch fail"),
    ] {
        let samples = Samples::new(Arc::new(Wrong { kind, shape, values })).unwrap();
        let error = samples.batch_f32(&[2, 0], &mut Vec::new()).unwrap_err();
        assert!(error.to_string().starts_with(&format!("wrong 2: {found}")), "{error}");
    }
}

#[test]
fn samples_that_do_not_fit_their_data_set_are_rejected() {
    let options = LoadOptions::default();
    let build = |classes: usize, input: Input, samples: &LabeledSamples| {
        let classes = (0..classes).map(|class| class.to_string()).collect();
        Dataset::of_samples("own", "own data", classes, input, samples, &options)
    };
    let samples = labeled(in_memory());
    assert!(build(2, input(), &samples).is_ok());
    let other = Input::Images(Preparation::new(1, SIDE, SIDE + 1, Ink::AsIs).unwrap());
    for (classes, input, found) in [
        (2, Input::Embeddings { size: 64 }, "expected embeddings of the shape [64, 1, 1], found images"),
        (2, other, "expected images of the shape [1, 8, 9], found images of the shape [1, 8, 8]"),
        (1, input(), "expected two or more classes, found 1"),
    ] {
        let error = build(classes, input, &samples).unwrap_err();
        assert!(error.exit_code() == 2 && error.to_string().contains(found), "{error}");
    }
    let labels = vec![0, 1, 5];
    let samples = LabeledSamples::new(in_memory().select(&[0, 1, 2]), labels).unwrap();
    let error = build(5, input(), &samples).unwrap_err();
    assert!(error.to_string().contains("expected labels below 5, the number of classes, found 5 in row 2"), "{error}");
}
