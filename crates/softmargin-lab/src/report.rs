//! `report.html`: a run at a glance, in one file that needs no other.

use crate::config::Config;
use crate::data::Dataset;
use crate::error::Error;
use crate::evaluation::Evaluation;
use crate::observer::Epoch;
use crate::training::Summary;
use plotters::prelude::*;
use std::fmt::Write;

/// A table of more classes than this is no picture any more; then the classes that do worst are listed.
const CLASSES_IN_A_TABLE: usize = 30;
const WORST: usize = 20;
const CHART: (u32, u32) = (520, 260);

/// The page.
///
/// # Errors
/// When a chart cannot be drawn.
pub(crate) fn page(
    config: &Config,
    data: &Dataset,
    epochs: &[Epoch],
    evaluation: &Evaluation,
    summary: &Summary,
) -> Result<String, Error> {
    let unwritable = |cause: String| Error::failure("report.html", "a page that can be written", cause, "");
    let loss = chart("training loss", epochs, |epoch| epoch.loss, None).map_err(unwritable)?;
    let accuracy = chart("training accuracy", epochs, |epoch| epoch.accuracy, Some(1.0)).map_err(unwritable)?;
    let configuration = toml::to_string_pretty(config).map_err(|cause| unwritable(cause.to_string()))?;
    let mut page = String::new();
    let name = escape(&data.name);
    let parts = [
        format!("<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>{name}, {}</title>", summary.loss),
        format!("<meta name=\"viewport\" content=\"width=device-width\"><style>{STYLE}</style>"),
        format!("<h1>{name}, {}</h1>", summary.loss),
        format!("<p class=\"figure\">{:.2} %<small> test accuracy</small></p>", 100.0 * summary.test_accuracy),
        facts(data, summary),
        format!("<div class=\"charts\">{loss}{accuracy}</div>"),
        classes(&data.classes, evaluation),
        format!("<details><summary>configuration</summary><pre>{}</pre></details></html>", escape(&configuration)),
    ];
    for part in parts {
        let _ = writeln!(page, "{part}");
    }
    Ok(page)
}

const STYLE: &str = "body{font:16px/1.5 system-ui,sans-serif;max-width:1100px;margin:2rem auto;padding:0 1rem;\
color:#1c2430;background:#fff}h1{font-weight:600;margin:0}.figure{font-size:3rem;margin:.2rem 0}\
.figure small{font-size:1rem;color:#5b6675}.charts{display:flex;flex-wrap:wrap;gap:1rem}\
table{border-collapse:collapse;font-size:.85rem;margin:1rem 0}th,td{padding:.15rem .45rem;text-align:right}\
th{font-weight:600;color:#5b6675}dl{display:grid;grid-template-columns:max-content 1fr;gap:.1rem 1rem}\
dt{color:#5b6675}dd{margin:0}pre{background:#f4f6f8;padding:1rem;overflow:auto}summary{cursor:pointer}";

fn facts(data: &Dataset, summary: &Summary) -> String {
    let wrong = (summary.test_images as f64 * (1.0 - summary.test_accuracy)).round();
    let epochs = if summary.epochs == 1 { "epoch" } else { "epochs" };
    let rows = [
        ("data", escape(&data.description)),
        ("split", escape(&data.split)),
        ("test", format!("{wrong} of {} images wrong", summary.test_images)),
        ("training", format!("{} {epochs}, {:.1} s in all", summary.epochs, summary.seconds)),
        ("speed", format!("{:.0} images/s", summary.images_per_second)),
        ("parameters", summary.parameters.to_string()),
    ];
    let rows = rows.iter().map(|(name, value)| format!("<dt>{name}</dt><dd>{value}</dd>"));
    format!("<dl>{}</dl>", rows.collect::<String>())
}

/// A curve over the epochs, as an SVG picture.
fn chart(title: &str, epochs: &[Epoch], of: impl Fn(&Epoch) -> f64, top: Option<f64>) -> Result<String, String> {
    let points: Vec<(f64, f64)> = epochs.iter().map(|epoch| (epoch.epoch as f64, of(epoch))).collect();
    let high = top.unwrap_or_else(|| points.iter().map(|point| point.1).fold(0.0, f64::max) * 1.05).max(1e-6);
    let lowest = points.iter().map(|point| point.1).fold(high, f64::min);
    // An accuracy is looked at near its top; a loss down to 0.
    let low = if top.is_some() { (lowest * 20.0).floor() / 20.0 } else { 0.0 }.min(high - 0.05 * high);
    let mut svg = String::new();
    draw(&mut svg, title, &points, (low, high)).map_err(|cause| cause.to_string())?;
    Ok(svg)
}

fn draw(
    svg: &mut String,
    title: &str,
    points: &[(f64, f64)],
    (low, high): (f64, f64),
) -> Result<(), Box<dyn std::error::Error>> {
    let area = SVGBackend::with_string(svg, CHART).into_drawing_area();
    let last = points.len().max(2) as f64;
    let mut chart = ChartBuilder::on(&area)
        .caption(title, ("sans-serif", 15))
        .margin(8)
        .x_label_area_size(36)
        .y_label_area_size(44)
        .build_cartesian_2d(1.0..last, low..high)?;
    chart
        .configure_mesh()
        .x_desc("epoch")
        .x_labels(8)
        .y_labels(6)
        .x_label_formatter(&|x| format!("{x:.0}"))
        .y_label_formatter(&|y| format!("{y:.2}"))
        .light_line_style(TRANSPARENT)
        .draw()?;
    let blue = RGBColor(32, 98, 201);
    chart.draw_series(LineSeries::new(points.iter().copied(), blue.stroke_width(2)))?;
    if let [only] = points {
        chart.draw_series(std::iter::once(Circle::new(*only, 3, blue.filled())))?;
    }
    area.present()?;
    Ok(())
}

fn classes(names: &[String], evaluation: &Evaluation) -> String {
    if names.len() <= CLASSES_IN_A_TABLE { confusion(names, evaluation) } else { worst(names, evaluation) }
}

/// Rows are true classes, columns what they were taken for.
fn confusion(names: &[String], evaluation: &Evaluation) -> String {
    let head: String = names.iter().map(|name| format!("<th>{}</th>", escape(name))).collect();
    let mut table =
        format!("<h2>test images by class (rows) and prediction (columns)</h2><table><tr><th></th>{head}</tr>");
    for (class, name) in names.iter().enumerate() {
        let row = row(evaluation, class, names.len());
        let images = row.iter().sum::<usize>().max(1) as f64;
        let _ = write!(table, "<tr><th>{}</th>", escape(name));
        for (taken_for, count) in row.into_iter().enumerate() {
            // Errors are rare: the root makes a single one visible.
            let strength = (count as f64 / images).sqrt();
            let colour = if class == taken_for { "32,98,201" } else { "208,52,44" };
            let shown = if count == 0 { String::new() } else { count.to_string() };
            let _ = write!(table, "<td style=\"background:rgba({colour},{:.2})\">{shown}</td>", 0.55 * strength);
        }
        table.push_str("</tr>");
    }
    table + "</table>"
}

/// What the images of a class were taken for: how many for each class.
fn row(evaluation: &Evaluation, class: usize, classes: usize) -> Vec<usize> {
    let mut row = vec![0; classes];
    row[class] = evaluation.classes[class].right;
    for error in evaluation.errors.iter().filter(|error| error.class == class) {
        row[error.predicted] = error.count;
    }
    row
}

fn worst(names: &[String], evaluation: &Evaluation) -> String {
    let recalls = evaluation.recalls();
    let mut known: Vec<(f64, &str)> =
        recalls.iter().zip(names).filter_map(|(recall, name)| recall.map(|recall| (recall, name.as_str()))).collect();
    known.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(b.1)));
    let rows = known
        .iter()
        .take(WORST)
        .map(|(recall, name)| format!("<tr><th>{}</th><td>{:.1} %</td></tr>", escape(name), 100.0 * recall));
    format!("<h2>classes that do worst</h2><table>{}</table>", rows.collect::<String>())
}

/// Names of classes and files may hold anything.
fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn epoch(epoch: usize, loss: f64) -> Epoch {
        Epoch { epoch, loss, accuracy: 1.0 - loss / 10.0, learning_rate: 0.1, images_per_second: 1.0, seconds: 1.0 }
    }

    #[test]
    fn charts_are_drawn_for_one_epoch_and_for_many() {
        for count in [1, 2, 30] {
            let epochs: Vec<Epoch> = (1..=count).map(|number| epoch(number, 1.0 / number as f64)).collect();
            let svg = chart("training loss", &epochs, |epoch| epoch.loss, None).unwrap();
            assert!(svg.starts_with("<svg") && svg.contains("training loss"), "{svg}");
        }
        assert!(chart("nothing", &[], |epoch| epoch.loss, None).is_ok());
    }

    #[test]
    fn the_table_is_for_few_classes_only() {
        let names = |count: usize| (0..count).map(|class| format!("class {class}")).collect::<Vec<_>>();
        let evaluation = Evaluation::of(&[0, 1, 1, 0, 1], &[0, 1, 0, 0, 0], 30).unwrap();
        assert_eq!(row(&evaluation, 0, 3), [2, 2, 0]);
        let cells = classes(&names(30), &evaluation).matches("<td").count();
        assert_eq!(cells, 900);
        let evaluation = Evaluation::of(&[0, 1, 1, 0, 1], &[0, 1, 0, 0, 0], 31).unwrap();
        let page = classes(&names(31), &evaluation);
        assert!(page.contains("<th>class 0</th><td>50.0 %</td>") && page.matches("<td").count() == 2, "{page}");
    }

    #[test]
    fn names_cannot_break_the_page() {
        assert_eq!(escape("<b>&\""), "&lt;b&gt;&amp;&quot;");
        let evaluation = Evaluation::of(&[0, 1], &[0, 1], 2).unwrap();
        let table = confusion(&["<i>".into(), "b".into()], &evaluation);
        assert!(!table.contains("<i>") && table.contains("&lt;i&gt;"));
    }
}
