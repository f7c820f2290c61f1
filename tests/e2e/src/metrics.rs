//! `/metrics`, read without a library, so that the test sees what a scraper sees.

use std::collections::BTreeMap;

/// Samples at one moment: name with its labels as written -> value.
#[derive(Clone, Debug)]
pub struct Metrics(BTreeMap<String, f64>);

impl Metrics {
    /// Reads the text. Panics on a line that is neither a sample nor a comment.
    pub fn parse(text: &str) -> Metrics {
        assert!(text.ends_with("# EOF\n"), "OpenMetrics ends with # EOF: {:?}", text.lines().last());
        let samples = text.lines().filter(|line| !line.starts_with('#')).map(|line| {
            let (name, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("no sample: {line:?}"));
            (name.to_owned(), value.parse().unwrap_or_else(|e| panic!("{line:?}: {e}")))
        });
        Metrics(samples.collect())
    }

    /// A sample by its full name, such as `alertmill_items_total` or `alertmill_door_requests_total{source="events",status="200"}`.
    #[track_caller]
    pub fn get(&self, name: &str) -> f64 {
        self.0.get(name).copied().unwrap_or_else(|| panic!("/metrics has no {name}"))
    }

    /// The sum of all samples of a family whose labels contain every one of `labels`; 0 when there are none.
    pub fn sum(&self, family: &str, labels: &[(&str, &str)]) -> f64 {
        let wanted: Vec<String> = labels.iter().map(|(name, value)| format!("{name}=\"{value}\"")).collect();
        let of_family = |name: &str| name == family || name.strip_prefix(family).is_some_and(|rest| rest.starts_with('{'));
        self.0.iter().filter(|(name, _)| of_family(name) && wanted.iter().all(|label| name.contains(label))).map(|(_, value)| value).sum()
    }

    /// Names of all samples.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_by_name_and_by_labels() {
        let metrics =
            Metrics::parse("# TYPE a counter\na_total{s=\"x\",c=\"1\"} 2\na_total{s=\"x\",c=\"2\"} 3\na_total{s=\"y\",c=\"1\"} 5\nab_total 7.5\n# EOF\n");
        assert_eq!(metrics.sum("a_total", &[("s", "x")]), 5.0);
        assert_eq!(metrics.sum("a_total", &[]), 10.0);
        assert_eq!(metrics.sum("nothing", &[]), 0.0);
        assert_eq!(metrics.get("ab_total"), 7.5);
    }
}
