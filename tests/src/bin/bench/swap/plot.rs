//! Bars in groups, with what the rounds lie between, as SVG.

use anyhow::{Result, anyhow};
use plotters::coord::Shift;
use plotters::prelude::*;
use rapidswap_tests::spread::Spread;

const SIZE: (u32, u32) = (960, 420);
const LEGEND: u32 = 36;

/// Told apart by people who do not see all colours (Okabe and Ito).
const COLOURS: [RGBColor; 7] = [
    RGBColor(0, 114, 178),
    RGBColor(86, 180, 233),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(230, 159, 0),
    RGBColor(120, 120, 120),
    RGBColor(204, 121, 167),
];

/// Groups of bars, a bar of each series in each group.
pub struct Bars {
    /// Name of the file, without its ending.
    pub name: String,
    /// What is shown, for people.
    pub title: String,
    /// What the bars' heights mean, with the unit.
    pub axis: String,
    /// The series, in the order in which they stand in a group.
    pub series: Vec<String>,
    /// Each group: its name, and for each series what was found.
    pub groups: Vec<(String, Vec<Option<Spread>>)>,
}

impl Bars {
    /// The plot as one SVG document.
    pub fn svg(&self) -> Result<String> {
        let mut text = String::new();
        {
            let root = SVGBackend::with_string(&mut text, SIZE).into_drawing_area();
            self.draw(&root)
                .map_err(|error| anyhow!("draw {}: {error}", self.name))?;
        }
        Ok(text)
    }

    fn draw<'a>(
        &self,
        root: &DrawingArea<SVGBackend<'a>, Shift>,
    ) -> Result<(), DrawingAreaErrorKind<<SVGBackend<'a> as DrawingBackend>::ErrorType>> {
        root.fill(&WHITE)?;
        let (legend, area) = root.split_vertically(LEGEND);
        self.legend(&legend)?;
        let spreads = self
            .groups
            .iter()
            .flat_map(|(_, spreads)| spreads)
            .flatten();
        let top = spreads.clone().map(|one| one.max).fold(0.0, f64::max) * 1.05;
        let bottom = spreads.map(|one| one.min).fold(0.0, f64::min) * 1.05;
        let top = if top > bottom { top } else { bottom + 1.0 };
        let end = self.groups.len() as f64;
        let mut chart = ChartBuilder::on(&area)
            .caption(&self.title, ("sans-serif", 18))
            .margin(8)
            .x_label_area_size(28)
            .y_label_area_size(64)
            .build_cartesian_2d(0.0..end, bottom..top)?;
        chart
            .configure_mesh()
            .disable_x_mesh()
            // Names stand in the middle of their groups.
            .disable_x_axis()
            .y_desc(&self.axis)
            .axis_desc_style(("sans-serif", 14))
            .label_style(("sans-serif", 13))
            .light_line_style(WHITE)
            .draw()?;
        let width = 0.8 / self.series.len().max(1) as f64;
        for (number, (_, spreads)) in self.groups.iter().enumerate() {
            for (place, spread) in spreads.iter().enumerate() {
                let Some(Spread { median, min, max }) = *spread else {
                    continue;
                };
                let left = number as f64 + 0.1 + place as f64 * width;
                let right = left + width * 0.9;
                let colour = COLOURS[place % COLOURS.len()];
                chart.draw_series([Rectangle::new(
                    [(left, 0.0), (right, median)],
                    colour.filled(),
                )])?;
                let middle = (left + right) / 2.0;
                let (a, b) = (middle - width * 0.15, middle + width * 0.15);
                for line in [
                    [(middle, min), (middle, max)],
                    [(a, min), (b, min)],
                    [(a, max), (b, max)],
                ] {
                    chart.draw_series([PathElement::new(line, BLACK)])?;
                }
            }
        }
        let (left, right) = (72, SIZE.0 as i32 - 8);
        let below = area.get_base_pixel().1 + area.dim_in_pixel().1 as i32 - 28;
        for (number, (name, _)) in self.groups.iter().enumerate() {
            let share = (number as f64 + 0.5) / end;
            let middle = left + (f64::from(right - left) * share) as i32;
            let style = ("sans-serif", 14).into_font().into_text_style(root);
            let centred = style.pos(plotters::style::text_anchor::Pos::new(
                plotters::style::text_anchor::HPos::Center,
                plotters::style::text_anchor::VPos::Top,
            ));
            root.draw_text(name, &centred, (middle, below))?;
        }
        root.present()
    }

    fn legend<'a>(
        &self,
        area: &DrawingArea<SVGBackend<'a>, Shift>,
    ) -> Result<(), DrawingAreaErrorKind<<SVGBackend<'a> as DrawingBackend>::ErrorType>> {
        let step = SIZE.0 as i32 / self.series.len().max(1) as i32;
        for (place, name) in self.series.iter().enumerate() {
            let left = 16 + step * place as i32;
            let colour = COLOURS[place % COLOURS.len()];
            area.draw(&Rectangle::new(
                [(left, 12), (left + 14, 26)],
                colour.filled(),
            ))?;
            area.draw(&Text::new(
                name.clone(),
                (left + 20, 12),
                ("sans-serif", 14),
            ))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_row_has_a_colour_of_its_own() {
        use clap::ValueEnum;
        let rows = super::super::backends::Row::value_variants();
        assert!(COLOURS.len() >= rows.len(), "{} rows", rows.len());
    }

    #[test]
    fn every_value_has_a_bar_and_every_name_is_there() {
        let value = |median| {
            Some(Spread {
                median,
                min: median / 2.0,
                max: median * 2.0,
            })
        };
        let bars = Bars {
            name: "cost".into(),
            title: "Cost".into(),
            axis: "seconds".into(),
            series: vec!["ours".into(), "theirs <b>".into()],
            groups: vec![
                ("random".into(), vec![value(1.0), value(4.0)]),
                ("sequential".into(), vec![value(2.0), None]),
            ],
        };
        let svg = bars.svg().expect("a plot");
        for word in [
            "ours",
            "theirs &lt;b&gt;",
            "random",
            "sequential",
            "seconds",
        ] {
            assert!(svg.contains(word), "{word}: {svg}");
        }
        // The background, two in the legend, three bars.
        assert_eq!(svg.matches("<rect").count(), 6, "{svg}");
        assert!(svg.starts_with("<svg") && svg.trim_end().ends_with("</svg>"));
        let empty = Bars {
            groups: Vec::new(),
            series: Vec::new(),
            ..bars
        };
        empty.svg().expect("nothing to show is no failure");
    }
}
