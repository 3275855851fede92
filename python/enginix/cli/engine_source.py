"""Determines a build's source: the commit, whether it is pinned, and a remark to print."""

from __future__ import annotations

from dataclasses import replace

from enginix.catalog.load import ModelSpec
from enginix.checkpoint.origin import read_origin
from enginix.engine.build import Job


def catalogue_source(job: Job, spec: ModelSpec) -> Job:
    """The job of a catalogue model; a commit recorded in the directory takes precedence."""
    source = spec.source
    if source.repo is None:
        return job
    job = recorded_source(job)
    if job.origin is None:
        job = replace(job, repo=source.repo, revision=source.revision)
    if not source.pinned:
        return replace(job, remark=_unpinned(job, f"`enginix checkpoint lock {spec.name}`"))
    if job.origin is None:
        remark = (
            f"{job.checkpoint} records no commit; assuming the pinned {source.revision} of "
            f"{source.repo}"
        )
        return replace(job, remark=remark)
    if job.revision != source.revision:
        remark = (
            f"{spec.name} is pinned to {source.revision}, but {job.checkpoint} holds commit "
            f"{job.revision} of {job.repo}; building from that commit"
        )
        return replace(job, remark=remark)
    return job


def repository_source(job: Job, repo: str) -> Job:
    """The job of a repository named without a commit: the commit that was fetched last."""
    job = recorded_source(job)
    if job.origin is None:
        job = replace(job, repo=repo)
    return replace(job, remark=_unpinned(job, "--model DIR, the directory of one commit"))


def recorded_source(job: Job) -> Job:
    """The job of a directory, with its commit if `enginix checkpoint fetch` recorded one."""
    origin = read_origin(job.checkpoint)
    if origin is None:
        return job
    return replace(job, origin=origin, repo=origin.repo, revision=origin.revision)


def _unpinned(job: Job, how: str) -> str:
    commit = (
        f": building from commit {job.revision} of {job.repo}"
        if job.revision
        else f", and {job.checkpoint} records no commit of {job.repo}"
    )
    return f"{job.name} is not pinned{commit}; pin it with {how}"
