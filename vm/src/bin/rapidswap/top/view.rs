//! An interval on a screen: drawing only.

use std::collections::VecDeque;

use rapidswap_vm::swap::latency::time;
use rapidswap_vm::{Activity, human_readable};
use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style, Stylize};
use ratatui::text::Line;
use ratatui::widgets::{Block, Gauge, Row, Sparkline, Table};

use super::block::{Use, headline, rates, uses};

/// How many intervals are remembered: more than screens are wide.
const REMEMBERED: usize = 512;

/// What is shown.
#[derive(Default)]
pub struct View {
    activity: Option<Activity>,
    faults: VecDeque<u64>,
    stores: VecDeque<u64>,
}

impl View {
    /// Another interval has passed.
    pub fn push(&mut self, activity: Activity) {
        let per_second = activity.client.as_ref().map(|client| client.per_second);
        let per_second = per_second.unwrap_or_default();
        for (history, rate) in [
            (&mut self.faults, per_second.faults),
            (&mut self.stores, per_second.stores),
        ] {
            // The newest first.
            history.push_front(rate.round() as u64);
            history.truncate(REMEMBERED);
        }
        self.activity = Some(activity);
    }

    /// Draws it.
    pub fn draw(&self, frame: &mut Frame) {
        let [head, rest, foot] = Layout::vertical([
            Constraint::Length(1),
            Constraint::Fill(1),
            Constraint::Length(1),
        ])
        .areas(frame.area());
        frame.render_widget(Line::from("q or ctrl-c leaves").dim(), foot);
        let Some(activity) = &self.activity else {
            frame.render_widget(Line::from("the first interval passes …"), head);
            return;
        };
        frame.render_widget(Line::from(headline(activity)).bold(), head);
        let uses = uses(activity);
        let [numbers, history, memory] = Layout::vertical([
            Constraint::Length(9),
            Constraint::Length(5),
            Constraint::Length(uses.len() as u16 + 2),
        ])
        .areas(rest);
        let halves = [Constraint::Length(32), Constraint::Fill(1)];
        let [left, right] = Layout::horizontal(halves).areas(numbers);
        draw_rates(frame, left, activity);
        draw_latency(frame, right, activity);
        let halves = [Constraint::Fill(1), Constraint::Fill(1)];
        let [left, right] = Layout::horizontal(halves).areas(history);
        draw_history(frame, left, " faults/s ", &self.faults);
        draw_history(frame, right, " stores/s ", &self.stores);
        draw_uses(frame, memory, &uses);
    }
}

fn draw_rates(frame: &mut Frame, area: Rect, activity: &Activity) {
    let per_second = activity.client.as_ref().map(|client| client.per_second);
    let rows = per_second.as_ref().map(rates).into_iter().flatten();
    let rows = rows.map(|(name, rate)| {
        let row = Row::new([
            Line::from(name),
            Line::from(format!("{rate:.1}")).right_aligned(),
        ]);
        match name == "failures" && rate > 0.0 {
            true => row.style(Style::new().fg(Color::Red).add_modifier(Modifier::BOLD)),
            false => row,
        }
    });
    let table = Table::new(rows, [Constraint::Length(17), Constraint::Fill(1)]);
    frame.render_widget(table.block(Block::bordered().title(" pages/s ")), area);
}

fn draw_latency(frame: &mut Frame, area: Rect, activity: &Activity) {
    let stages = activity.client.iter().flat_map(|client| &client.latency);
    let right = |text: String| Line::from(text).right_aligned();
    let rows = stages.map(|(stage, spread)| {
        Row::new([
            Line::from(stage.as_str()),
            right(spread.count.to_string()),
            right(time(spread.p50_ns)),
            right(time(spread.p99_ns)),
        ])
    });
    let widths = [
        Constraint::Length(13),
        Constraint::Fill(1),
        Constraint::Length(9),
        Constraint::Length(9),
    ];
    let columns = Line::from("count       p50       p99").right_aligned();
    let block = Block::bordered().title(" times ").title(columns);
    frame.render_widget(Table::new(rows, widths).block(block), area);
}

fn draw_history(frame: &mut Frame, area: Rect, title: &str, history: &VecDeque<u64>) {
    let most = history.iter().take(usize::from(area.width)).max();
    let title = format!("{title}up to {} ", most.copied().unwrap_or(0));
    let line = Sparkline::default()
        .data(history.iter().copied())
        .direction(ratatui::widgets::RenderDirection::RightToLeft)
        .style(Style::new().fg(Color::Cyan));
    frame.render_widget(line.block(Block::bordered().title(title)), area);
}

fn draw_uses(frame: &mut Frame, area: Rect, uses: &[Use]) {
    let block = Block::bordered().title(" memory ");
    let inside = block.inner(area);
    frame.render_widget(block, area);
    let rows = Layout::vertical(uses.iter().map(|_| Constraint::Length(1))).split(inside);
    for (Use { name, used, total }, row) in uses.iter().zip(rows.iter()) {
        let parts = [Constraint::Length(20), Constraint::Fill(1)];
        let [label, bar] = Layout::horizontal(parts).areas(*row);
        frame.render_widget(Line::from(name.as_str()), label);
        let share = (*used as f64 / (*total).max(1) as f64).clamp(0.0, 1.0);
        let color = if share > 0.95 {
            Color::Red
        } else {
            Color::Green
        };
        let gauge = Gauge::default()
            .ratio(share)
            .label(format!(
                "{} of {}",
                human_readable(*used),
                human_readable(*total)
            ))
            .gauge_style(Style::new().fg(color).bg(Color::DarkGray));
        frame.render_widget(gauge, bar);
    }
}

#[cfg(test)]
mod tests {
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;

    use super::*;
    use crate::top::samples::{activity, idle};

    /// What is on a screen of this size, without colours.
    fn drawn(view: &View, width: u16, height: u16) -> String {
        let mut terminal = Terminal::new(TestBackend::new(width, height)).expect("a screen");
        terminal.draw(|frame| view.draw(frame)).expect("drawn");
        let buffer = terminal.backend().buffer();
        let lines = buffer.content().chunks(usize::from(width)).map(|cells| {
            let line: String = cells.iter().map(|cell| cell.symbol()).collect();
            line.trim_end().to_owned() + "\n"
        });
        lines.collect()
    }

    #[test]
    fn the_screen_is_as_written_down() {
        let mut view = View::default();
        for rate in [0.0, 400.0, 300.0, 800.0] {
            view.push(activity(rate));
        }
        let golden = include_str!("../../../../tests/golden/top-screen.txt");
        assert_eq!(drawn(&view, 80, 24), golden);
    }

    #[test]
    fn a_client_that_cannot_be_asked_has_no_numbers() {
        let mut view = View::default();
        view.push(idle());
        let screen = drawn(&view, 80, 24);
        assert!(
            screen.starts_with("default: remote swap unknown; client paused"),
            "{screen}"
        );
        assert!(!screen.contains("fault ") && screen.contains("q or ctrl-c leaves"));
    }

    #[test]
    fn there_is_something_to_see_before_the_first_interval_and_on_any_screen() {
        let mut view = View::default();
        assert!(drawn(&view, 80, 24).starts_with("the first interval passes"));
        view.push(activity(1.0));
        for (width, height) in [(20, 5), (300, 100)] {
            assert!(drawn(&view, width, height).starts_with("default: remote swap"));
        }
        drawn(&view, 1, 1);
    }

    #[test]
    fn what_is_full_and_what_fails_is_red() {
        let mut view = View::default();
        let mut activity = activity(1.0);
        let client = activity.client.as_mut().expect("there");
        client.per_second.failures = 1.0;
        client.groups[0].used_bytes = client.groups[0].limit_bytes;
        view.push(activity);
        let mut terminal = Terminal::new(TestBackend::new(80, 24)).expect("a screen");
        terminal.draw(|frame| view.draw(frame)).expect("drawn");
        let buffer = terminal.backend().buffer();
        let red = |row: u16| (0..80).any(|column| buffer[(column, row)].fg == Color::Red);
        let rows: Vec<u16> = (0..24).filter(|row| red(*row)).collect();
        // `failures`, and the bar of the group.
        assert_eq!(rows, [8, 18]);
    }
}
