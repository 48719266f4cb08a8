//! On a terminal.

use std::{
    io,
    time::{Duration, Instant},
};

use ratatui::{
    DefaultTerminal, Frame,
    crossterm::{
        cursor::Show,
        event::{self, Event, KeyCode, KeyEventKind, KeyModifiers},
        execute,
        terminal::{LeaveAlternateScreen, disable_raw_mode},
    },
    layout::{Constraint, Layout},
    style::{Modifier, Style},
    text::Line,
    widgets::{Bar, BarChart, BarGroup, Block, Row, Table},
};

use super::{
    columns::Columns,
    look::{Busy, Change, Look, User, duration},
};
use crate::{
    failure::Failure,
    interrupt::{self, Guard},
};

/// Displays it until a key ends it, and restores the terminal.
pub fn run(names: &[String], first: Look, interval: Duration, count: u64) -> Result<(), Failure> {
    let (mut terminal, _restored_at_end) =
        Guard::of(|| Ok((ratatui::try_init()?, restore))).map_err(Failure::system("the terminal"))?;
    watch(&mut terminal, names, first, interval, count)
}

/// Restores the terminal. After a signal, the other thread draws nothing more.
fn restore() {
    // First, because it does not wait for a terminal whose output is stopped.
    let _ = disable_raw_mode();
    let mut screen = io::stdout().lock();
    // A terminal that has gone needs no restoring.
    let _ = execute!(screen, LeaveAlternateScreen, Show);
    if interrupt::received().is_some() {
        std::mem::forget(screen);
    }
}

fn watch(
    terminal: &mut DefaultTerminal,
    names: &[String],
    mut before: Look,
    interval: Duration,
    count: u64,
) -> Result<(), Failure> {
    // Nothing has happened yet; the current state is displayed.
    let mut change = Change::between(&before, &before);
    let mut next = Instant::now() + interval;
    let mut looks = 0;
    while looks < count {
        terminal.draw(|frame| draw(frame, &change)).map_err(Failure::system("the terminal"))?;
        let left = next.saturating_duration_since(Instant::now()).min(Duration::from_millis(200));
        if wants_to_end(left).map_err(Failure::system("the terminal"))? {
            return Ok(());
        }
        if Instant::now() >= next {
            let now = Look::again(names)?;
            change = Change::between(&before, &now);
            before = now;
            next += interval;
            looks += 1;
        }
    }
    Ok(())
}

/// Waits for a key, for this time.
fn wants_to_end(time: Duration) -> io::Result<bool> {
    if !event::poll(time)? {
        return Ok(false);
    }
    let Event::Key(key) = event::read()? else { return Ok(false) };
    let control_c = key.code == KeyCode::Char('c') && key.modifiers.contains(KeyModifiers::CONTROL);
    Ok(key.kind == KeyEventKind::Press && (control_c || matches!(key.code, KeyCode::Char('q') | KeyCode::Esc)))
}

fn draw(frame: &mut Frame<'_>, change: &Change) {
    let devices = u16::try_from(change.devices.len()).unwrap_or(u16::MAX).saturating_add(3);
    let parts = [Constraint::Length(devices), Constraint::Length(12), Constraint::Min(4), Constraint::Length(1)];
    let [top, middle, bottom, help] = Layout::vertical(parts).areas(frame.area());

    let rows = change.devices.iter().map(Busy::row).collect();
    frame.render_widget(
        table(" Devices ", Columns::fitting(Busy::HEAD, Busy::WIDTHS, rows, &Busy::DISPENSABLE, top.width)),
        top,
    );

    frame.render_widget(histogram(change), middle);

    let rows = change.users.iter().map(User::row).collect();
    frame.render_widget(
        table(" Used by ", Columns::fitting(User::HEAD, User::WIDTHS, rows, &User::DISPENSABLE, bottom.width)),
        bottom,
    );

    frame.render_widget(Line::from(" q quits"), help);
}

fn table(title: &'static str, columns: Columns) -> Table<'static> {
    Table::new(columns.rows.into_iter().map(Row::new), columns.widths.into_iter().map(Constraint::Length))
        .header(Row::new(columns.head).style(Style::new().add_modifier(Modifier::BOLD)))
        .block(Block::bordered().title(title))
}

/// Of all devices together.
fn histogram(change: &Change) -> BarChart<'static> {
    let mut classes = std::collections::BTreeMap::<u64, u64>::new();
    for class in change.devices.iter().flat_map(|device| &device.latency) {
        *classes.entry(class.from_ns).or_default() += class.requests;
    }
    let bars: Vec<_> = classes
        .into_iter()
        .map(|(from, requests)| Bar::default().value(requests).label(format!("≥{}", duration(from)).into()))
        .collect();
    BarChart::default()
        .block(Block::bordered().title(" Requests completed since the last report, by duration "))
        .data(BarGroup::default().bars(&bars))
        .bar_width(9)
}
