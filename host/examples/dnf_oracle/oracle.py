"""Answers requests as dnf 4 does on an empty system: one JSON object per line in, one out.

    oracle.py CACHE ID=FOLDER...       {"specs": [...], "excludes": [...], "weak": true, "best": true}
"""
import json, os, sys, time
import dnf

cache, *repositories = sys.argv[1:]
os.makedirs(os.path.join(cache, "log"), exist_ok=True)
TYPES = ("mandatory", "default", "conditional")


def answer(request):
    base = dnf.Base()
    conf = base.conf
    conf.installroot = os.path.join(cache, "root")
    conf.cachedir = os.path.join(cache, "cache")
    conf.logdir = os.path.join(cache, "log")
    conf.persistdir = os.path.join(cache, "state")
    conf.substitutions.update(releasever="9", arch="x86_64", basearch="x86_64")
    conf.plugins, conf.module_platform_id, conf.ignorearch = False, "platform:el9", True
    conf.install_weak_deps, conf.best = request["weak"], request["best"]
    # 32-bit packages do not exist for the solver.
    conf.excludepkgs = ["*.i686", *request["excludes"]]
    for repository in repositories:
        name, folder = repository.split("=", 1)
        base.repos.add_new_repo(name, conf, baseurl=[f"file://{folder}/"], gpgcheck=0, module_hotfixes=True)
    try:
        base.fill_sack(load_system_repo=False)
        base.read_comps(arch_filter=True)
        started = time.monotonic()
        for spec in request["specs"]:
            base.group_install(spec[1:], TYPES) if spec.startswith("@") else base.install(spec)
        base.resolve()
        packages = sorted(f"{p.name}-{p.epoch}:{p.version}-{p.release}.{p.arch}" for p in base.transaction.install_set)
        return {"packages": packages, "seconds": time.monotonic() - started}
    except (dnf.exceptions.Error, ValueError) as error:
        return {"error": f"{type(error).__name__}: {error}", "seconds": 0}
    finally:
        base.close()


for line in sys.stdin:
    print(json.dumps(answer(json.loads(line))), flush=True)
