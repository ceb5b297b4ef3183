//! The order of a list's values, as Python sorts them.

use super::equality::{Scalar, parse_scalar};

/// The values of a list cannot be compared with each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("only numbers, or only strings, can be sorted; item {0} is of another type than those before it")]
pub struct Unsortable(pub usize);

/// Returns the indices of `values`, JSON texts, in the order in which the values are sorted. Equal values keep their order, in
/// a descending order, too.
///
/// Strings compare by their code points. `true` and `false` are numbers, as in Python.
///
/// # Errors
/// Fails at the first value that is neither a number nor a string, or of another type than the first value.
pub fn sorted<'a>(values: impl Iterator<Item = &'a str>, descending: bool) -> Result<Vec<usize>, Unsortable> {
    let (mut numbers, mut strings) = (Vec::new(), Vec::new());
    for (index, value) in values.enumerate() {
        match parse_scalar(value) {
            Some(Scalar::Number(number)) if strings.is_empty() => numbers.push((number, index)),
            Some(Scalar::Text(text)) if numbers.is_empty() => strings.push((text, index)),
            _ => return Err(Unsortable(index)),
        }
    }
    Ok(match numbers.is_empty() {
        false => order(numbers, descending),
        true => order(strings, descending),
    })
}

fn order<K: Ord>(mut keys: Vec<(K, usize)>, descending: bool) -> Vec<usize> {
    match descending {
        false => keys.sort_by(|(one, _), (two, _)| one.cmp(two)),
        true => keys.sort_by(|(one, _), (two, _)| two.cmp(one)),
    }
    keys.into_iter().map(|(_, index)| index).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sort<'a>(values: &[&'a str], descending: bool) -> Result<Vec<&'a str>, Unsortable> {
        let order = sorted(values.iter().copied(), descending)?;
        Ok(order.into_iter().map(|index| values[index]).collect())
    }

    #[test]
    fn numbers_are_sorted_by_value_and_strings_by_code_points() {
        assert_eq!(
            sort(&["10", "9.5", "true", "-1", "18446744073709551616", "0"], false).unwrap(),
            ["-1", "0", "true", "9.5", "10", "18446744073709551616"]
        );
        assert_eq!(
            sort(&[r#""b""#, r#""\u0061""#, r#""B""#, r#""é""#, r#""""#], false).unwrap(),
            [r#""""#, r#""B""#, r#""\u0061""#, r#""b""#, r#""é""#]
        );
        assert_eq!(sort(&[], false).unwrap(), [""; 0]);
    }

    #[test]
    fn equal_values_keep_their_order_in_both_directions() {
        let values = ["1", "0", "1.0", "true", "2"];
        assert_eq!(sort(&values, false).unwrap(), ["0", "1", "1.0", "true", "2"]);
        assert_eq!(sort(&values, true).unwrap(), ["2", "1", "1.0", "true", "0"]);
    }

    #[test]
    fn what_has_no_order_is_refused_with_its_place() {
        assert_eq!(sort(&["1", r#""a""#], false), Err(Unsortable(1)));
        assert_eq!(sort(&[r#""a""#, r#""b""#, "1"], false), Err(Unsortable(2)));
        for value in ["null", "[]", "{}", "1e999", r#""\ud800""#] {
            assert_eq!(sort(&[value], false), Err(Unsortable(0)), "{value}");
        }
    }
}
