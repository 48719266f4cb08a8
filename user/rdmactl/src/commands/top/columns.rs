//! The columns of a table that a terminal has room for.

/// Columns that are wide enough for what is in them.
pub struct Columns {
    /// Their headings.
    pub head: Vec<&'static str>,
    /// Their contents.
    pub rows: Vec<Vec<String>>,
    /// Their widths.
    pub widths: Vec<u16>,
}

impl Columns {
    /// All columns, at least as wide as `least`, so that they do not jump; or fewer if they do not fit in `room`: dispensable ones are left
    /// out, in this order. None is cut off.
    pub fn fitting<const N: usize>(
        head: [&'static str; N],
        least: [usize; N],
        rows: Vec<Vec<String>>,
        dispensable: &[&str],
        room: u16,
    ) -> Self {
        let widths = head.iter().enumerate().map(|(place, head)| {
            let cells = rows.iter().map(|row| row[place].chars().count());
            u16::try_from(cells.fold(head.chars().count().max(least[place]), usize::max)).unwrap_or(u16::MAX)
        });
        let mut columns = Self { head: head.to_vec(), widths: widths.collect(), rows };
        for name in dispensable {
            if columns.width() <= room {
                break;
            }
            columns.leave_out(name);
        }
        columns
    }

    /// With a space between two of them, and a border.
    fn width(&self) -> u16 {
        self.widths.iter().fold(1, |sum: u16, width| sum.saturating_add(*width).saturating_add(1))
    }

    fn leave_out(&mut self, name: &str) {
        if let Some(place) = self.head.iter().position(|head| *head == name) {
            self.head.remove(place);
            self.widths.remove(place);
            for row in &mut self.rows {
                row.remove(place);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_fits() {
        let rows = || vec![vec!["rdma0".to_owned(), "busy for 93 ms".to_owned(), "3".to_owned(), "134 ms".to_owned()]];
        let head = ["DEVICE", "ENGINE", "FILES", "MEDIAN"];
        let wide = Columns::fitting(head, [0; 4], rows(), &["FILES"], 36);
        assert_eq!((wide.widths, wide.head.len()), (vec![6, 14, 5, 6], 4));
        let narrow = Columns::fitting(head, [0; 4], rows(), &["FILES"], 35);
        assert_eq!(narrow.head, ["DEVICE", "ENGINE", "MEDIAN"]);
        assert_eq!(narrow.rows[0][2], "134 ms");
        assert_eq!(narrow.widths, [6, 14, 6]);
        assert_eq!(Columns::fitting(head, [0, 15, 0, 0], rows(), &["FILES"], 36).widths, [6, 15, 6]);
    }
}
