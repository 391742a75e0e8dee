//! Names that are similar to a mistyped one.

/// Maximum number of names that are suggested.
const MEANT_MAX: usize = 5;

/// `; did you mean ..?`, or nothing if no known name is similar. A known name that begins with `wanted` counts
/// as similar.
pub fn did_you_mean<N: AsRef<str>>(wanted: &str, known: impl IntoIterator<Item = N>) -> String {
    let distance = |name: &str| {
        let is_beginning = !wanted.is_empty() && name.starts_with(wanted);
        if is_beginning { 0 } else { strsim::damerau_levenshtein(wanted, name) }
    };
    let mut near: Vec<(usize, N)> = known.into_iter().map(|name| (distance(name.as_ref()), name)).collect();
    near.sort_by(|(one, a), (other, b)| (one, a.as_ref()).cmp(&(other, b.as_ref())));
    let nearest = near.first().map_or(0, |(distance, _)| *distance);
    near.retain(|(distance, name)| *distance <= nearest + 1 && *distance <= (name.as_ref().len() / 3).max(1));
    let near: Vec<&str> = near.iter().take(MEANT_MAX).map(|(_, name)| name.as_ref()).collect();
    if near.is_empty() { String::new() } else { format!("; did you mean {}?", near.join(", ")) }
}

#[cfg(test)]
mod tests {
    use super::did_you_mean;

    #[test]
    fn a_mistyped_name_is_answered_with_the_names_near_it() {
        let known = ["web", "web1", "database", "db"];
        assert_eq!(did_you_mean("wbe", known), "; did you mean web?");
        assert_eq!(did_you_mean("data", known), "; did you mean database?");
        assert_eq!(did_you_mean("wev1", known), "; did you mean web1?");
        assert_eq!(did_you_mean("printers", known), "");
        assert_eq!(did_you_mean("", known), "");
        assert_eq!(did_you_mean::<&str>("web", []), "");
    }
}
