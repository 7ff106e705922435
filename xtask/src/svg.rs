//! A line chart as SVG.

use crate::Outcome;
use crate::command::root;
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

/// What a picture shows: lines over time or another quantity, and what happened when.
pub(crate) struct Chart {
    pub(crate) title: String,
    /// Where the horizontal axis ends; it begins at 0.
    pub(crate) end: f64,
    /// What is written at each whole step of the horizontal axis.
    pub(crate) step: fn(f64) -> String,
    /// What the vertical axis counts.
    pub(crate) unit: &'static str,
    /// Between two lines of the grid.
    pub(crate) grid: f64,
    pub(crate) events: Vec<Event>,
    pub(crate) series: Vec<Series>,
}

/// A point of time with a name.
pub(crate) struct Event {
    pub(crate) at: f64,
    pub(crate) text: &'static str,
}

/// Points of the horizontal and vertical axis.
pub(crate) struct Series {
    name: &'static str,
    color: &'static str,
    points: Vec<(f64, f64)>,
}

impl Series {
    pub(crate) fn new(name: &'static str, color: &'static str, points: Vec<(f64, f64)>) -> Self {
        Self {
            name,
            color,
            points,
        }
    }
}

/// A step of one second.
pub(crate) fn seconds(at: f64) -> String {
    format!("{at} s")
}

const WIDTH: f64 = 900.0;
const HEIGHT: f64 = 380.0;
const LEFT: f64 = 60.0;
const RIGHT: f64 = 20.0;
const TOP: f64 = 64.0;
const BOTTOM: f64 = 60.0;
impl Chart {
    /// Writes the picture to a file of the repository; gives its whole path.
    pub(crate) fn write(&self, file: &str) -> Outcome<PathBuf> {
        let file = root().join(file);
        let directory = file.parent().unwrap_or(Path::new("."));
        fs::create_dir_all(directory)
            .and_then(|()| fs::write(&file, self.svg()))
            .map_err(|error| format!("{}: {error}", file.display()))?;
        Ok(file)
    }

    fn svg(&self) -> String {
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" \
             font-family=\"sans-serif\" font-size=\"12\">\n\
             <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n"
        );
        text(&mut svg, (WIDTH / 2.0, 22.0), "middle", &self.title);
        self.grid(&mut svg);
        self.events(&mut svg);
        for (index, series) in self.series.iter().enumerate() {
            self.line(&mut svg, series);
            legend(&mut svg, index, series);
        }
        svg.push_str("</svg>\n");
        svg
    }

    fn top(&self) -> f64 {
        let values = self.series.iter().flat_map(|series| &series.points);
        let greatest = values.map(|(_, value)| *value).fold(self.grid, f64::max);
        (greatest / self.grid).ceil() * self.grid
    }

    fn x(&self, at: f64) -> f64 {
        LEFT + at / self.end * (WIDTH - LEFT - RIGHT)
    }

    fn y(&self, value: f64) -> f64 {
        HEIGHT - BOTTOM - value / self.top() * (HEIGHT - TOP - BOTTOM)
    }

    fn grid(&self, svg: &mut String) {
        let mut value = 0.0;
        while value <= self.top() {
            let y = self.y(value);
            stroke(svg, (LEFT, y), (WIDTH - RIGHT, y), "#dddddd");
            text(svg, (LEFT - 8.0, y + 4.0), "end", &format!("{value}"));
            value += self.grid;
        }
        let mut at = 0.0;
        while at <= self.end {
            let place = (self.x(at), HEIGHT - BOTTOM + 18.0);
            text(svg, place, "middle", &(self.step)(at));
            at += 1.0;
        }
        text(svg, (LEFT - 8.0, TOP - 12.0), "end", self.unit);
    }

    fn events(&self, svg: &mut String) {
        for (index, event) in self.events.iter().enumerate() {
            let x = self.x(event.at);
            stroke(svg, (x, TOP - 6.0), (x, HEIGHT - BOTTOM), "#b00020");
            // Neighbours stand on two heights.
            let y = if index % 2 == 0 {
                TOP - 10.0
            } else {
                TOP - 24.0
            };
            text(svg, (x, y), "middle", event.text);
        }
    }

    fn line(&self, svg: &mut String, series: &Series) {
        let mut points = String::new();
        for (at, value) in &series.points {
            if *at <= self.end {
                // Writing into a string does not fail.
                let _ = write!(points, "{:.1},{:.1} ", self.x(*at), self.y(*value));
            }
        }
        let (color, points) = (series.color, points.trim_end());
        let _ = writeln!(
            svg,
            "<polyline fill=\"none\" stroke=\"{color}\" stroke-width=\"1.6\" points=\"{points}\"/>"
        );
    }
}

fn legend(svg: &mut String, index: usize, series: &Series) {
    let x = LEFT + 20.0 + 260.0 * f64::from(u8::try_from(index).unwrap_or(u8::MAX));
    let y = HEIGHT - 16.0;
    let _ = writeln!(
        svg,
        "<line x1=\"{x:.1}\" y1=\"{y:.1}\" x2=\"{:.1}\" y2=\"{y:.1}\" stroke=\"{}\" stroke-width=\"3\"/>",
        x + 24.0,
        series.color
    );
    text(svg, (x + 32.0, y + 4.0), "start", series.name);
}

fn stroke(svg: &mut String, from: (f64, f64), to: (f64, f64), color: &str) {
    let _ = writeln!(
        svg,
        "<line x1=\"{:.1}\" y1=\"{:.1}\" x2=\"{:.1}\" y2=\"{:.1}\" stroke=\"{color}\"/>",
        from.0, from.1, to.0, to.1
    );
}

fn text(svg: &mut String, at: (f64, f64), anchor: &str, words: &str) {
    let words = words.replace('&', "&amp;").replace('<', "&lt;");
    let _ = writeln!(
        svg,
        "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"{anchor}\" fill=\"#333333\">{words}</text>",
        at.0, at.1
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_drawn_to_scale_and_words_are_escaped() {
        let chart = Chart {
            title: "a < b & c".into(),
            end: 2.0,
            step: seconds,
            unit: "Mbit/s",
            grid: 100.0,
            events: vec![Event {
                at: 1.0,
                text: "cut",
            }],
            series: vec![Series::new(
                "s",
                "#000000",
                vec![(0.0, 0.0), (2.0, 150.0), (9.0, 1.0)],
            )],
        };
        let svg = chart.svg();
        // The scale ends at 200; what is after the end is left out.
        assert!(svg.contains("points=\"60.0,320.0 880.0,128.0\""), "{svg}");
        assert!(svg.contains("a &lt; b &amp; c"));
        assert!(svg.contains(">200</text>") && !svg.contains(">300</text>"));
    }
}
