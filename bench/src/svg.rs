//! Bar charts as SVG: readable on a light page and on a dark one.

use std::fmt::Write;

const WIDTH: f64 = 760.0;
const LABEL_WIDTH: f64 = 110.0;
const VALUE_WIDTH: f64 = 190.0;
const BAR_HEIGHT: f64 = 15.0;
const BAR_GAP: f64 = 3.0;
const GROUP_GAP: f64 = 9.0;
const TOP: f64 = 50.0;
/// Where logarithms are drawn, the shortest bar.
const LOG_SHARE_MIN: f64 = 0.06;

const STYLE: &str = "text{font:13px system-ui,sans-serif;fill:#24292f}\
    .title{font-size:15px;font-weight:600}.small{font-size:12px;fill:#57606a}\
    .s0{fill:#8c959f}.s1{fill:#b4bbc2}.s2{fill:#d3d8dd}\
    .own.s0{fill:#0969da}.own.s1{fill:#5fa3ea}.own.s2{fill:#a5cbf4}line{stroke:#24292f}\
    @media(prefers-color-scheme:dark){text{fill:#e6edf3}.small{fill:#9198a1}\
    .s0{fill:#7d8590}.s1{fill:#59616b}.s2{fill:#3d444d}\
    .own.s0{fill:#4493f8}.own.s1{fill:#2f6cbd}.own.s2{fill:#1f4a86}line{stroke:#e6edf3}}";

/// One bar: its length, and from where to where it was found.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bar {
    /// The place of its series.
    pub(crate) series: usize,
    pub(crate) value: f64,
    pub(crate) least: f64,
    pub(crate) most: f64,
}

/// Bars with one name.
#[derive(Debug, Clone)]
pub(crate) struct Group {
    pub(crate) name: String,
    /// Drawn in the other colour.
    pub(crate) is_own: bool,
    pub(crate) bars: Vec<Bar>,
}

/// A chart.
#[derive(Debug, Clone)]
pub(crate) struct Chart {
    pub(crate) title: String,
    /// What is drawn, with its unit.
    pub(crate) figure: String,
    /// Names of the series, if there are several.
    pub(crate) series: Vec<String>,
    pub(crate) is_logarithmic: bool,
    pub(crate) groups: Vec<Group>,
}

impl Chart {
    /// As a file.
    pub(crate) fn to_svg(&self) -> String {
        let heights =
            self.groups.iter().map(|group| group.bars.len() as f64 * (BAR_HEIGHT + BAR_GAP) + GROUP_GAP);
        let height = TOP + heights.sum::<f64>() + 8.0;
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" width=\"{WIDTH}\" \
             height=\"{height}\" role=\"img\" aria-label=\"{0}\"><style>{STYLE}</style>\n\
             <text class=\"title\" x=\"0\" y=\"17\">{0}</text>\n<text class=\"small\" x=\"0\" y=\"36\">{1}</text>\n",
            escape(&self.title),
            escape(&self.subtitle()),
        );
        let mut y = TOP;
        for group in &self.groups {
            self.draw(group, y, &mut svg);
            y += group.bars.len() as f64 * (BAR_HEIGHT + BAR_GAP) + GROUP_GAP;
        }
        svg.push_str("</svg>\n");
        svg
    }

    fn subtitle(&self) -> String {
        let mut text = self.figure.clone();
        if self.is_logarithmic {
            text.push_str(", logarithmic");
        }
        if self.series.len() > 1 {
            text.push_str("; from above: ");
            text.push_str(&self.series.join(", "));
        }
        text
    }

    fn draw(&self, group: &Group, y: f64, svg: &mut String) {
        let own = if group.is_own { "own " } else { "" };
        let middle = y + group.bars.len() as f64 * (BAR_HEIGHT + BAR_GAP) / 2.0 + 3.0;
        // Writing to a string can't fail.
        let _ = writeln!(
            svg,
            "<text x=\"{:.1}\" y=\"{middle:.1}\" text-anchor=\"end\">{}</text>",
            LABEL_WIDTH - 8.0,
            escape(&group.name)
        );
        for (at, bar) in group.bars.iter().enumerate() {
            let top = y + at as f64 * (BAR_HEIGHT + BAR_GAP);
            let [end, least, most] = [bar.value, bar.least, bar.most].map(|value| self.length(value));
            let (series, line) = (bar.series.min(2), top + BAR_HEIGHT / 2.0);
            let _ = writeln!(
                svg,
                "<rect class=\"{own}s{series}\" x=\"{LABEL_WIDTH}\" y=\"{top:.1}\" width=\"{end:.1}\" height=\"{BAR_HEIGHT}\"/>\
                 <line x1=\"{:.1}\" x2=\"{:.1}\" y1=\"{line:.1}\" y2=\"{line:.1}\"/>\
                 <text class=\"small\" x=\"{:.1}\" y=\"{:.1}\">{}</text>",
                LABEL_WIDTH + least,
                LABEL_WIDTH + most,
                LABEL_WIDTH + most.max(end) + 6.0,
                top + BAR_HEIGHT - 3.0,
                number(bar.value)
            );
        }
    }

    /// The length of a bar.
    fn length(&self, value: f64) -> f64 {
        let room = WIDTH - LABEL_WIDTH - VALUE_WIDTH;
        let bars = || self.groups.iter().flat_map(|group| &group.bars);
        let most = bars().map(|bar| bar.most).fold(f64::MIN_POSITIVE, f64::max);
        if !self.is_logarithmic {
            return (value / most).clamp(0.0, 1.0) * room;
        }
        let least = bars().map(|bar| bar.least).filter(|least| *least > 0.0).fold(most, f64::min);
        let reach = (most / least).ln().max(f64::MIN_POSITIVE);
        let share = if value > 0.0 { (value / least).ln() / reach } else { 0.0 };
        (LOG_SHARE_MIN + (1.0 - LOG_SHARE_MIN) * share.clamp(0.0, 1.0)) * room
    }
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('"', "&quot;")
}

/// A figure for people: three digits that count, thousands set apart.
pub(crate) fn number(value: f64) -> String {
    let places = match value.abs() {
        size if size >= 100.0 || size.fract() == 0.0 => 0,
        size if size >= 10.0 => 1,
        size if size >= 0.1 => 2,
        _ => 3,
    };
    let text = format!("{value:.places$}");
    let (whole, fraction) =
        text.split_once('.').map_or((&text[..], None), |(whole, rest)| (whole, Some(rest)));
    let mut spaced = String::new();
    for (at, digit) in whole.chars().enumerate() {
        if at > 0 && (whole.len() - at).is_multiple_of(3) && whole.len() > 4 {
            spaced.push('\u{202F}');
        }
        spaced.push(digit);
    }
    match fraction {
        Some(fraction) => format!("{spaced}.{fraction}"),
        None => spaced,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chart(is_logarithmic: bool) -> Chart {
        let bar = |value| Bar { series: 0, value, least: value, most: value };
        let group =
            |name: &str, value| Group { name: name.to_owned(), is_own: false, bars: vec![bar(value)] };
        Chart {
            title: "a < b & \"c\"".to_owned(),
            figure: "seconds".to_owned(),
            series: Vec::new(),
            is_logarithmic,
            groups: vec![group("one", 1.0), group("ten", 10.0), group("hundred", 100.0)],
        }
    }

    #[test]
    fn bars_are_as_long_as_their_values() {
        let linear = chart(false);
        assert!((linear.length(100.0) / linear.length(10.0) - 10.0).abs() < 1e-9);
        let logarithmic = chart(true);
        let [one, ten, hundred] = [1.0, 10.0, 100.0].map(|value| logarithmic.length(value));
        assert!(one > 0.0, "the shortest is seen");
        assert!(((hundred - ten) - (ten - one)).abs() < 1e-9, "each decade is as long");
    }

    #[test]
    fn the_file_is_whole_and_its_text_escaped() {
        let svg = chart(false).to_svg();
        assert!(svg.starts_with("<svg ") && svg.ends_with("</svg>\n"));
        assert!(svg.contains("a &lt; b &amp; &quot;c&quot;"));
        assert_eq!(svg.matches("<rect").count(), 3);
        assert!(svg.contains("prefers-color-scheme:dark"));
    }

    #[test]
    fn numbers_have_three_digits_that_count() {
        assert_eq!(number(0.1234), "0.12");
        assert_eq!(number(0.0123), "0.012");
        assert_eq!(number(12.345), "12.3");
        assert_eq!(number(1234.5), "1234");
        assert_eq!(number(441_034.2), "441\u{202F}034");
        assert_eq!(number(0.0), "0");
        assert_eq!(number(1.0), "1", "a count");
    }
}
