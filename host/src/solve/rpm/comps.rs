//! `comps.xml`: groups of packages, and environments of groups.

use std::{collections::BTreeMap, io::BufRead};

use super::{
    index::{Failure, IndexError},
    xml::{Step, Tag, XmlReader},
};

/// How a package belongs to a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Membership {
    /// Always installed with the group.
    Mandatory,
    /// Installed with the group unless one chooses otherwise.
    Default,
    /// Installed with the group if another package is there.
    Conditional,
    /// Installed only when one chooses it.
    Optional,
}

/// A package of a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupMember {
    /// The package's name.
    pub package: String,
    /// How it belongs to the group.
    pub membership: Membership,
    /// The package that must be there for a conditional one; empty otherwise.
    pub requires: String,
}

/// A group of packages.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Group {
    /// Its packages, in the order of the document.
    pub members: Vec<GroupMember>,
    /// Its name in English.
    pub name: String,
}

/// A group of groups.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Environment {
    /// Ids of the groups that are always installed with it.
    pub groups: Vec<String>,
    /// Ids of the groups that one can choose with it.
    pub optional_groups: Vec<String>,
    /// Its name in English.
    pub name: String,
}

/// The groups and environments of one repository, by id.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Comps {
    /// Groups.
    pub groups: BTreeMap<String, Group>,
    /// Environments.
    pub environments: BTreeMap<String, Environment>,
}

impl Comps {
    /// Parses `comps.xml`. Translations, categories and language packs are passed over.
    ///
    /// # Errors
    /// Fails when reading fails and at the first thing that is malformed.
    pub fn parse(document: impl BufRead) -> Result<Self, IndexError> {
        let mut xml = XmlReader::new(document);
        let mut parser = Parser::default();
        loop {
            let depth = xml.depth();
            let stepped = match xml.next() {
                Ok(Step::Open(tag)) => parser.open(&tag, depth),
                Ok(Step::Close(text)) => parser.close(text),
                Ok(Step::End) => return Ok(parser.comps),
                Err(error) => Err(error.into()),
            };
            stepped.map_err(|failure| failure.at("comps", xml.position(), &parser.label()))?;
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Element {
    Root,
    Group,
    Environment,
    Id,
    Name,
    PackageList,
    Package,
    Groups,
    OptionalGroups,
    GroupId,
    Other,
}

#[derive(Default)]
struct Parser {
    comps: Comps,
    open: Vec<Element>,
    id: String,
    group: Group,
    environment: Environment,
    membership: Option<Membership>,
    requires: String,
}

impl Parser {
    fn label(&self) -> String {
        if self.id.is_empty() { String::new() } else { format!("group {}", self.id) }
    }

    fn open(&mut self, tag: &Tag<'_>, depth: usize) -> Result<(), Failure> {
        use Element::{Environment as E, Group as G, GroupId, Groups, Id, Name, OptionalGroups, Other, Package, PackageList, Root};
        if depth == 0 && tag.name() != "comps" {
            return Err(format!("its root is `{}` rather than `comps`", tag.name()).into());
        }
        let element = match (self.open.last(), tag.name()) {
            (None, _) => Root,
            (Some(Root), "group") => {
                (self.id, self.group) = (String::new(), Group::default());
                G
            }
            (Some(Root), "environment") => {
                (self.id, self.environment) = (String::new(), Environment::default());
                E
            }
            (Some(G | E), "id") => Id,
            (Some(G | E), "name") if tag.attribute("lang")?.is_none() => Name,
            (Some(G), "packagelist") => PackageList,
            (Some(E), "grouplist") => Groups,
            (Some(E), "optionlist") => OptionalGroups,
            (Some(Groups | OptionalGroups), "groupid") => GroupId,
            (Some(PackageList), "packagereq") => {
                self.package(tag)?;
                Package
            }
            _ => Other,
        };
        self.open.push(element);
        Ok(())
    }

    fn package(&mut self, tag: &Tag<'_>) -> Result<(), Failure> {
        self.membership = match tag.attribute("type")?.as_deref() {
            None | Some("" | "mandatory") => Some(Membership::Mandatory),
            Some("default") => Some(Membership::Default),
            Some("conditional") => Some(Membership::Conditional),
            Some("optional") => Some(Membership::Optional),
            Some(other) => return Err(format!("`{other}` is no way for a package to belong to a group").into()),
        };
        self.requires = tag.attribute("requires")?.unwrap_or_default();
        Ok(())
    }

    fn close(&mut self, text: &str) -> Result<(), Failure> {
        let text = text.trim();
        let (closed, outer) = (self.open.pop(), self.open.last());
        match closed {
            Some(Element::Id) => text.clone_into(&mut self.id),
            Some(Element::Name) => match outer {
                Some(Element::Group) => text.clone_into(&mut self.group.name),
                _ => text.clone_into(&mut self.environment.name),
            },
            Some(Element::GroupId) => match outer {
                Some(Element::Groups) => self.environment.groups.push(text.to_owned()),
                _ => self.environment.optional_groups.push(text.to_owned()),
            },
            Some(Element::Package) => {
                if text.is_empty() {
                    return Err("one of its packages has no name".into());
                }
                let membership = self.membership.take().unwrap_or(Membership::Mandatory);
                let requires = std::mem::take(&mut self.requires);
                self.group.members.push(GroupMember { package: text.to_owned(), membership, requires });
            }
            Some(Element::Group | Element::Environment) if self.id.is_empty() => return Err("a group has no id".into()),
            Some(Element::Group) => {
                let (id, group) = (std::mem::take(&mut self.id), std::mem::take(&mut self.group));
                self.comps.groups.entry(id).or_default().merge(group);
            }
            Some(Element::Environment) => {
                let (id, environment) = (std::mem::take(&mut self.id), std::mem::take(&mut self.environment));
                self.comps.environments.entry(id).or_insert(environment);
            }
            _ => {}
        }
        Ok(())
    }
}

impl Group {
    /// Adds what another group of the same id has.
    pub(super) fn merge(&mut self, other: Self) {
        for member in other.members {
            if !self.members.contains(&member) {
                self.members.push(member);
            }
        }
        if self.name.is_empty() {
            self.name = other.name;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_and_environments_are_read() {
        let text = r#"<?xml version="1.0"?><!DOCTYPE comps PUBLIC 'x' 'comps.dtd'><comps>
            <group><id>core</id><name>Core</name><name xml:lang="de">Kern</name><packagelist>
              <packagereq>bash</packagereq><packagereq type="default">dnf</packagereq>
              <packagereq type="conditional" requires="kde">x</packagereq><packagereq type="optional">nano</packagereq>
            </packagelist></group>
            <category><id>c</id><grouplist><groupid>core</groupid></grouplist></category>
            <environment><id>minimal</id><name>Minimal</name><grouplist><groupid>core</groupid></grouplist>
              <optionlist><groupid>standard</groupid></optionlist></environment></comps>"#;
        let comps = Comps::parse(text.as_bytes()).unwrap();
        let core = &comps.groups["core"];
        assert_eq!(core.name, "Core");
        let members: Vec<_> = core.members.iter().map(|member| (&*member.package, member.membership, &*member.requires)).collect();
        assert_eq!(
            members,
            [
                ("bash", Membership::Mandatory, ""),
                ("dnf", Membership::Default, ""),
                ("x", Membership::Conditional, "kde"),
                ("nano", Membership::Optional, ""),
            ]
        );
        let minimal = &comps.environments["minimal"];
        assert_eq!((&minimal.groups[..], &minimal.optional_groups[..]), (&["core".to_owned()][..], &["standard".to_owned()][..]));
        assert_eq!(comps.groups.len(), 1);
    }

    #[test]
    fn malformed_groups_are_refused() {
        for (text, reason) in [
            ("<metadata/>", "root"),
            ("<comps><group><id/></group></comps>", "no id"),
            ("<comps><group><id>a</id><packagelist><packagereq/></packagelist></group></comps>", "no name"),
            ("<comps><group><id>a</id><packagelist><packagereq type='x'>b</packagereq></packagelist></group></comps>", "`x`"),
            ("<comps>", "too early"),
        ] {
            let error = Comps::parse(text.as_bytes()).unwrap_err().to_string();
            assert!(error.contains(reason), "{reason}: {error}");
        }
    }
}
