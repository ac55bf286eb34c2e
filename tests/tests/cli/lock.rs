//! `oic lock`: what can be refused before anything is fetched. The pipeline tests lock.

use insta::assert_snapshot;
use oic_tests::Sandbox;

#[test]
fn a_template_that_is_not_there() {
    assert_snapshot!(Sandbox::new().oic(&["lock", "template.yml"]).run(), @"
    exit 3
    --- stderr
    error[unreadable]: cannot read template.yml: No such file or directory (os error 2)
    error: 1 error in template.yml
    ");
}

#[test]
fn without_a_template() {
    assert_snapshot!(Sandbox::new().oic(&["lock"]).run(), @"
    exit 2
    --- stderr
    error: the following required arguments were not provided:
      <TEMPLATE>

    Usage: oic lock <TEMPLATE>

    For more information, try '--help'.
    ");
}
