//! Plots as SVG: bars of each group, and writes admitted over time.

use super::groups::{ENGINES, Group};
use super::medians::Medians;
use super::tables::quantity;
use crate::engine::Outcome;
use plotters::coord::Shift;
use plotters::prelude::*;
use std::path::Path;

/// One colour an engine, told apart by people who see red and green alike
/// (Okabe and Ito's palette).
const COLOURS: &[RGBColor] = &[
    RGBColor(213, 94, 0),
    RGBColor(0, 114, 178),
    RGBColor(86, 180, 233),
    RGBColor(0, 158, 115),
    RGBColor(150, 205, 170),
    RGBColor(204, 121, 167),
    RGBColor(230, 159, 0),
    RGBColor(120, 120, 120),
];

const GREY: RGBColor = RGBColor(210, 210, 210);
const INK: RGBColor = RGBColor(40, 40, 40);
const FONT: &str = "sans-serif";

type Canvas<'a> = DrawingArea<SVGBackend<'a>, Shift>;

/// Rates of a group's workloads, each engine as a share of the fastest.
pub fn bars(path: &Path, group: &Group, medians: &Medians) -> Outcome<()> {
    let workloads: Vec<&str> = group
        .workloads
        .iter()
        .map(|(workload, _)| *workload)
        .filter(|workload| ENGINES.iter().any(|(e, _)| medians.rate(workload, e).is_some()))
        .collect();
    let engines: Vec<usize> = (0..ENGINES.len())
        .filter(|&e| workloads.iter().any(|w| medians.rate(w, ENGINES[e].0).is_some()))
        .collect();
    if workloads.is_empty() {
        return Ok(());
    }
    let (left, top, height) = (60, 70, 240);
    let slot = 26 * engines.len() as i32 + 36;
    let slot = slot.max(150).max(legend_width(&engines) / workloads.len() as i32);
    let width = left + slot * workloads.len() as i32 + 20;
    let root = canvas(path, width, top + height + 60)?;
    write(&root, group.title, (left, 12), 18, INK)?;
    legend(&root, &engines, (left, 44))?;
    for percent in [0, 25, 50, 75, 100] {
        let y = top + height - height * percent / 100;
        root.draw(&PathElement::new(vec![(left, y), (width - 20, y)], GREY.stroke_width(1)))?;
        write(&root, &format!("{percent} %"), (14, y - 7), 13, INK)?;
    }
    for (w, workload) in workloads.iter().enumerate() {
        let rates: Vec<Option<f64>> =
            engines.iter().map(|&e| medians.rate(workload, ENGINES[e].0)).collect();
        let best = rates.iter().flatten().copied().fold(0.0, f64::max);
        let bar = 26;
        let x0 = left + slot * w as i32 + (slot - bar * engines.len() as i32) / 2;
        for (i, (&engine, rate)) in engines.iter().zip(&rates).enumerate() {
            let Some(rate) = rate else { continue };
            let x = x0 + bar * i as i32;
            let y = top + height - (f64::from(height) * rate / best) as i32;
            let shape = [(x + 2, y), (x + bar - 2, top + height)];
            root.draw(&Rectangle::new(shape, COLOURS[engine].filled()))?;
        }
        let middle = left + slot * w as i32 + slot / 2;
        centred(&root, workload, (middle, top + height + 10), 15)?;
        centred(&root, &format!("100 % = {}/s", quantity(best)), (middle, top + height + 30), 13)?;
    }
    root.present()?;
    Ok(())
}

/// Writes admitted in each second of the last round's large fill.
pub fn over_time(path: &Path, workload: &str, medians: &Medians) -> Outcome<()> {
    let series: Vec<(usize, &[f64])> = ENGINES
        .iter()
        .enumerate()
        .filter_map(|(e, (engine, _))| {
            let row = medians.rows(workload, engine).last()?;
            (row.series.len() > 1).then_some((e, row.series.as_slice()))
        })
        .collect();
    let Some(seconds) = series.iter().map(|(_, s)| s.len()).max() else { return Ok(()) };
    let most = series.iter().flat_map(|(_, s)| s.iter().copied()).fold(0.0, f64::max);
    let engines: Vec<usize> = series.iter().map(|(e, _)| *e).collect();
    let root = canvas(path, 860, 380)?;
    write(&root, &format!("{workload}: writes admitted in each second"), (60, 12), 18, INK)?;
    legend(&root, &engines, (60, 44))?;
    let (_, below) = root.split_vertically(64);
    let mut chart = ChartBuilder::on(&below)
        .margin(12)
        .x_label_area_size(40)
        .y_label_area_size(64)
        .build_cartesian_2d(0.0..seconds as f64, 0.0..most * 1.05)?;
    chart
        .configure_mesh()
        .light_line_style(TRANSPARENT)
        .bold_line_style(GREY)
        .x_desc("seconds")
        .x_label_formatter(&|second| format!("{second:.0}"))
        .y_label_formatter(&|rate| quantity(*rate))
        .label_style((FONT, 13).into_font().color(&INK))
        .draw()?;
    for (engine, figures) in series {
        let points = figures.iter().enumerate().map(|(s, rate)| (s as f64 + 0.5, *rate));
        chart.draw_series(LineSeries::new(points, COLOURS[engine].stroke_width(2)))?;
    }
    root.present()?;
    Ok(())
}

fn canvas(path: &Path, width: i32, height: i32) -> Outcome<Canvas<'_>> {
    let root = SVGBackend::new(path, (width as u32, height as u32)).into_drawing_area();
    // White, not clear: pages may be dark.
    root.fill(&WHITE)?;
    Ok(root)
}

const LEGEND_STEP: i32 = 100;

fn legend_width(engines: &[usize]) -> i32 {
    LEGEND_STEP * engines.len() as i32
}

fn legend(root: &Canvas<'_>, engines: &[usize], at: (i32, i32)) -> Outcome<()> {
    for (i, &engine) in engines.iter().enumerate() {
        let x = at.0 + LEGEND_STEP * i as i32;
        let shape = [(x, at.1), (x + 12, at.1 + 12)];
        root.draw(&Rectangle::new(shape, COLOURS[engine].filled()))?;
        write(root, ENGINES[engine].1, (x + 17, at.1), 14, INK)?;
    }
    Ok(())
}

fn write(
    root: &Canvas<'_>,
    text: &str,
    at: (i32, i32),
    size: i32,
    colour: RGBColor,
) -> Outcome<()> {
    root.draw(&Text::new(text.to_owned(), at, (FONT, size).into_font().color(&colour)))?;
    Ok(())
}

fn centred(root: &Canvas<'_>, text: &str, at: (i32, i32), size: i32) -> Outcome<()> {
    use plotters::style::text_anchor::{HPos, Pos, VPos};
    let style = (FONT, size).into_font().color(&INK).pos(Pos::new(HPos::Center, VPos::Top));
    root.draw(&Text::new(text.to_owned(), at, style))?;
    Ok(())
}
