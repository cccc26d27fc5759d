//! The default network's training, one pass over made-up images each time that a line is read: the worker of
//! `bench/throughput.py`.
//!
//! ```text
//! throughput plan SIDE
//! throughput train SIDE IMAGES PASSES
//! throughput profile SIDE
//! ```
//!
//! Each pass waits for a line on standard input, and then writes a line of JSON with the images per second. A pass is a
//! full epoch of training: augmentation, network, loss, optimizer.

use burn::tensor::{Device, Distribution, Tensor};
use softmargin::random::{Generator, Purpose};
use softmargin_lab::config::ConvolutionalPlan;
use softmargin_lab::data::augmentation::Augmentation;
use softmargin_lab::network::{self, Recognizer};
use softmargin_lab::run::EpochRecord;
use softmargin_lab::{ConfigRequest, DataSource, Destination, Observer, train};
use std::error::Error;
use std::io::{BufRead, Write, stdin, stdout};
use std::path::Path;
use std::time::Instant;

const CLASSES: u8 = 10;
const BATCH: usize = 64;
/// The default embedding dimension of the command.
const EMBEDDING: usize = 128;

/// Reports the speed of each pass, and waits before the next.
struct OnDemand {
    passes: usize,
}

impl Observer for OnDemand {
    fn finished_epoch(&mut self, epoch: &EpochRecord) {
        let line = serde_json::json!({ "pass": epoch.epoch, "images_per_second": epoch.images_per_second });
        let mut out = stdout();
        // If the reader has gone, training goes on to its end.
        let _ = writeln!(out, "{line}").and_then(|()| out.flush());
        if epoch.epoch < self.passes {
            wait();
        }
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words[..] {
        ["plan", side] => {
            let plan = ConvolutionalPlan::for_images([1, side.parse()?, side.parse()?], EMBEDDING);
            writeln!(stdout(), "{}", serde_json::to_string(&plan)?)?;
            Ok(())
        }
        ["profile", side] => profile(side.parse()?),
        ["train", side, images, passes] => passes_on_demand(side.parse()?, images.parse()?, passes.parse()?),
        _ => Err("usage: throughput plan SIDE | train SIDE IMAGES PASSES | profile SIDE".into()),
    }
}

/// Writes pairs of a part and its milliseconds for one batch.
fn profile(side: usize) -> Result<(), Box<dyn Error>> {
    let plan = ConvolutionalPlan::for_images([1, side, side], EMBEDDING);
    let device = Device::flex().autodiff();
    let network = Recognizer::new(&plan, 0, &device);
    let images = || Tensor::<4>::random([BATCH, 1, side, side], Distribution::Normal(0.0, 1.0), &device);
    let augmentation = Augmentation::with_strength(1.0);
    let mut changed = vec![0.0_f32; side * side];
    let (mut forward, mut backward, mut data) = (f64::INFINITY, f64::INFINITY, f64::INFINITY);
    for _ in 0..15 {
        let images = images();
        let start = Instant::now();
        let out = network.forward(images).sum();
        forward = forward.min(start.elapsed().as_secs_f64());
        let start = Instant::now();
        let _ = out.backward();
        backward = backward.min(start.elapsed().as_secs_f64());
        let start = Instant::now();
        for image in 0..BATCH {
            let mut stream = Generator::new(0, Purpose::Augmentation, image as u64);
            augmentation.apply(&vec![0.5; side * side], plan.image, &mut stream, &mut changed);
        }
        data = data.min(start.elapsed().as_secs_f64());
    }
    let parts = network::PARTS.map(|part| format!("layers: {part}")).into_iter().zip(network::profile(&plan, BATCH));
    let whole = [("network forward", forward), ("network backward", backward), ("augmentation, one thread", data)];
    let whole = whole.map(|(part, seconds)| (part.to_owned(), 1e3 * seconds));
    let parts: Vec<(String, f64)> = parts.chain(whole).collect();
    writeln!(stdout(), "{}", serde_json::to_string(&parts)?)?;
    Ok(())
}

fn passes_on_demand(side: usize, images: usize, passes: usize) -> Result<(), Box<dyn Error>> {
    let home = tempfile::tempdir()?;
    write_part(home.path(), "train", images, side)?;
    write_part(home.path(), "t10k", 2 * BATCH, side)?;
    let mut request = ConfigRequest::new(DataSource::Path(home.path().to_path_buf()));
    request.network.embedding = Some(EMBEDDING);
    (request.training.epochs, request.training.batch_size) = (Some(passes), Some(BATCH));
    // So small a rate that the made-up images cannot make it diverge.
    request.training.learning_rate = Some(1e-3);
    wait();
    train(&request, &Destination::new(&home.path().join("run"))?, &mut OnDemand { passes })?;
    Ok(())
}

/// Waits for a line on standard input.
fn wait() {
    // If standard input is closed, training goes on to its end.
    let _ = stdin().lock().read_line(&mut String::new());
}

/// Writes images and labels in the IDX format.
fn write_part(folder: &Path, name: &str, count: usize, side: usize) -> Result<(), Box<dyn Error>> {
    let bytes = |numbers: &[usize]| -> Result<Vec<u8>, std::num::TryFromIntError> {
        Ok(numbers
            .iter()
            .map(|&n| u32::try_from(n))
            .collect::<Result<Vec<_>, _>>()?
            .into_iter()
            .flat_map(u32::to_be_bytes)
            .collect())
    };
    let mut images = bytes(&[0x803, count, side, side])?;
    let mut state = 1_u32;
    images.extend((0..count * side * side).map(|_| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    }));
    let mut labels = bytes(&[0x801, count])?;
    labels.extend((0..count).map(|image| image as u8 % CLASSES));
    std::fs::write(folder.join(format!("{name}-images-idx3-ubyte")), images)?;
    std::fs::write(folder.join(format!("{name}-labels-idx1-ubyte")), labels)?;
    Ok(())
}
