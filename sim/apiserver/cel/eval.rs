//! Evaluates an expression over `self` and `oldSelf`. Nothing here fails but by a sentence, and nothing goes on for ever.

use std::cell::Cell;
use std::collections::BTreeMap;

use cel::IdedExpr;
use cel::common::ast::{CallExpr, ComprehensionExpr, EntryExpr, Expr, LiteralValue, SelectExpr};

use super::functions;
use super::value::{Value, unescape};

/// The most steps that one evaluation takes. A real server's budget is of another unit, and as finite.
const STEPS_MAX: u64 = 1_000_000;

type Result = std::result::Result<Value, String>;

/// Names and what they stand for.
#[derive(Debug)]
pub(super) struct Scope<'a> {
    names: Vec<(&'a str, Result)>,
    steps: Cell<u64>,
}

impl<'a> Scope<'a> {
    pub(super) fn new(own: &Value, old: Option<&Value>) -> Self {
        let mut names = vec![("self", Ok(own.clone()))];
        names.extend(old.map(|old| ("oldSelf", Ok(old.clone()))));
        Self { names, steps: Cell::new(0) }
    }

    /// The expression's value.
    pub(super) fn eval(&self, expression: &IdedExpr) -> Result {
        self.steps.set(self.steps.get() + 1);
        if self.steps.get() > STEPS_MAX {
            return Err("operation cancelled: actual cost limit exceeded".to_owned());
        }
        match &expression.expr {
            Expr::Ident(name) => self.name(name),
            Expr::Literal(literal) => literal_value(literal),
            Expr::Select(select) => self.select(select),
            Expr::List(list) => {
                list.elements.iter().map(|element| self.eval(element)).collect::<std::result::Result<_, _>>().map(Value::List)
            }
            Expr::Map(map) => {
                let mut built = BTreeMap::new();
                for entry in &map.entries {
                    let EntryExpr::MapEntry(entry) = &entry.expr else { return Err("unsupported map".to_owned()) };
                    let Value::Text(key) = self.eval(&entry.key)? else { return Err("unsupported key type".to_owned()) };
                    built.insert(key, self.eval(&entry.value)?);
                }
                Ok(Value::Map(built))
            }
            Expr::Call(call) => self.call(call),
            Expr::Comprehension(fold) => self.fold(fold),
            Expr::Struct(_) | Expr::Unspecified => Err("unsupported expression".to_owned()),
        }
    }

    fn name(&self, name: &str) -> Result {
        let found = self.names.iter().rev().find(|(known, _)| *known == name);
        found.map_or_else(|| Err(format!("no such attribute(s): {name}")), |(_, value)| value.clone())
    }

    fn select(&self, select: &SelectExpr) -> Result {
        let field = unescape(&select.field);
        match self.eval(&select.operand)? {
            Value::Map(map) if select.test => Ok(Value::Bool(map.contains_key(&field))),
            Value::Map(mut map) => map.remove(&field).ok_or_else(|| format!("no such key: {field}")),
            other => Err(format!("no such overload: {}.{field}", other.type_name())),
        }
    }

    fn call(&self, call: &CallExpr) -> Result {
        let arguments = call.args.as_slice();
        match (call.func_name.as_str(), &call.target, arguments) {
            ("_&&_", None, [left, right]) => self.both(left, right, false),
            ("_||_", None, [left, right]) => self.both(left, right, true),
            ("_?_:_", None, [test, yes, no]) => match self.eval(test)? {
                Value::Bool(true) => self.eval(yes),
                Value::Bool(false) => self.eval(no),
                _ => Err("no such overload".to_owned()),
            },
            ("@not_strictly_false", None, [argument]) => Ok(Value::Bool(self.eval(argument) != Ok(Value::Bool(false)))),
            (name, target, arguments) => {
                let values = target.as_deref().into_iter().chain(arguments).map(|argument| self.eval(argument));
                functions::call(name, target.is_some(), &values.collect::<std::result::Result<Vec<_>, _>>()?)
            }
        }
    }

    /// `&&` and `||`: whichever side decides, decides; an error on the other side does not count.
    fn both(&self, left: &IdedExpr, right: &IdedExpr, decisive: bool) -> Result {
        let (left, decided) = (self.eval(left), Value::Bool(decisive));
        if left.as_ref() == Ok(&decided) {
            return left;
        }
        let right = self.eval(right);
        match (left, right) {
            (_, Ok(right)) if right == decided => Ok(right),
            (Err(why), _) | (_, Err(why)) => Err(why),
            (Ok(Value::Bool(_)), Ok(Value::Bool(right))) => Ok(Value::Bool(right)),
            _ => Err("no such overload".to_owned()),
        }
    }

    /// What `all`, `exists`, `map` and their like are parsed to: a fold over a list, or over a map's keys.
    fn fold(&self, fold: &ComprehensionExpr) -> Result {
        let items: Vec<Value> = match self.eval(&fold.iter_range)? {
            Value::List(items) => items,
            Value::Map(map) => map.into_keys().map(Value::Text).collect(),
            other => return Err(format!("found no matching overload for '{}'", other.type_name())),
        };
        let scope = |item: Option<Value>, sum: &Result| {
            let mut names: Vec<(&str, Result)> = self.names.clone();
            names.push((&fold.accu_var, sum.clone()));
            names.extend(item.map(|item| (fold.iter_var.as_str(), Ok(item))));
            Scope { names, steps: Cell::new(self.steps.get()) }
        };
        // An error in between is a value until somebody needs it: `all` and `exists` may be decided without.
        let mut sum = self.eval(&fold.accu_init);
        for item in items {
            let scope = scope(Some(item), &sum);
            let go_on = scope.eval(&fold.loop_cond);
            if go_on == Ok(Value::Bool(true)) {
                sum = scope.eval(&fold.loop_step);
            }
            self.steps.set(scope.steps.get());
            if go_on != Ok(Value::Bool(true)) || self.steps.get() > STEPS_MAX {
                break;
            }
        }
        scope(None, &sum).eval(&fold.result)
    }
}

fn literal_value(literal: &LiteralValue) -> Result {
    match literal {
        LiteralValue::Boolean(flag) => Ok(Value::Bool(*flag.inner())),
        LiteralValue::Int(number) => Ok(Value::Int(*number.inner())),
        LiteralValue::Double(number) => Ok(Value::Double(*number.inner())),
        LiteralValue::String(text) => Ok(Value::Text(text.inner().to_owned())),
        LiteralValue::Null => Ok(Value::Null),
        LiteralValue::UInt(_) | LiteralValue::Bytes(_) => Err("unsupported literal".to_owned()),
    }
}
