"""The page on which a person confirms an operation, and the one POST that carries it out."""

import uuid
from typing import Any

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.http import url_has_allowed_host_and_scheme
from django.views.decorators.http import require_http_methods

from outbox import context, decisions
from outbox.models import Decision
from outbox.operating import (
    Asked,
    Gone,
    Operation,
    Overtaken,
    Refused,
    Repeated,
    Subject,
    carry_out,
    known_facts,
    look,
    subject_called,
)

# Characters. The pages of rows have fifty; Django refuses to redirect to much longer ones, after the deed.
LONGEST_PATH = 500


@require_http_methods(["GET", "POST"])
def operate(request: HttpRequest, label: str, pk: str, name: str) -> HttpResponse:
    """Ask for confirmation; on POST carry it out once. 403 without the operation's permission, 409 with the reason
    where it may not be done or was overtaken: the page then shows how it stands now, with a new form."""
    subject = subject_called(label)
    operation = subject.operation(name) if subject else None
    if subject is None or operation is None:
        raise Http404
    if not request.user.has_perm(operation.permission):
        raise PermissionDenied
    if request.method == "GET":
        return _page(request, subject, operation, pk)
    return _post(request, subject, operation, pk)


def _post(request: HttpRequest, subject: Subject[Any], operation: Operation[Any], pk: str) -> HttpResponse:
    row = _row(subject, pk)
    token = _token(request.POST.get("token", ""))
    if row is None or token is None:
        return _already(request, subject, pk, token) or _gone(request, subject, pk)
    form = operation.form(row, request.POST)
    if not form.is_valid():
        return _already(request, subject, pk, token) or _page(request, subject, operation, pk, form=form, status=422)
    asked = Asked(
        actor=context.current().actor, token=token, seen=request.POST.get("seen", ""), values=form.cleaned_data
    )
    try:
        done = carry_out(subject, operation, pk, asked)
    except Repeated as repeated:
        return _repeated(request, subject, pk, repeated.decision)
    except Overtaken as overtaken:
        return _page(request, subject, operation, pk, overtaken=overtaken, status=409)
    except Gone:
        return _gone(request, subject, pk)
    except Refused as refused:
        return _page(request, subject, operation, pk, refused=str(refused), status=409)
    messages.success(request, done)
    return redirect(_back(request, subject, pk))


def _already(request: HttpRequest, subject: Subject[Any], pk: str, token: uuid.UUID | None) -> HttpResponse | None:
    """The answer to a form that was carried out before: its row, or what it asked for, may be gone since."""
    decision = Decision.objects.filter(token=token).first() if token else None
    return _repeated(request, subject, pk, decision) if decision else None


def _repeated(request: HttpRequest, subject: Subject[Any], pk: str, decision: Decision) -> HttpResponse:
    messages.info(request, f"This was done already, once. {_told(decision)}")
    return redirect(_back(request, subject, pk))


def _gone(request: HttpRequest, subject: Subject[Any], pk: str) -> HttpResponse:
    last = decisions.naming(subject.label, pk).first()
    who = f" {_told(last)}" if last else ""
    messages.warning(request, f"This is no longer there: somebody has dealt with it.{who}")
    return redirect(_changelist(subject))


def _told(decision: Decision) -> str:
    return (
        f"{decision.actor} at {decision.created_at:%H:%M:%S} UTC: {decision.kind}, "
        f"{decision.before} → {decision.after} (“{decision.reason}”)."
    )


def _page(
    request: HttpRequest,
    subject: Subject[Any],
    operation: Operation[Any],
    pk: str,
    *,
    form: Any = None,
    overtaken: Overtaken | None = None,
    refused: str = "",
    status: int = 200,
) -> HttpResponse:
    row = _row(subject, pk)
    if row is None:
        return _gone(request, subject, pk)
    refused = refused or operation.refusal(row, actor=context.current().actor)
    return render(
        request,
        "admin/operation.html",
        {
            **admin.site.each_context(request),
            "title": operation.label,
            "explanation": " ".join((operation.__doc__ or "").split()),
            "row": row,
            "opts": subject.model._meta,
            "facts": [*known_facts(subject, row), *operation.facts(row)],
            "form": form or operation.form(row),
            "token": uuid.uuid4(),
            "seen": look(subject, row),
            "decided": decisions.about(row, story=subject.story(row))[:3],
            "overtaken": overtaken,
            "refused": refused,
            "back": _back(request, subject, pk),
            "next": request.GET.get("next", request.POST.get("next", "")),
        },
        status=status,
    )


def _row(subject: Subject[Any], pk: str) -> Any:
    try:
        return subject.model._default_manager.filter(pk=pk).first()
    except ValueError:
        raise Http404 from None


def _token(text: str) -> uuid.UUID | None:
    try:
        return uuid.UUID(text)
    except ValueError:
        return None


def _changelist(subject: Subject[Any]) -> str:
    return reverse(f"admin:{subject.url_name}_changelist")


def _back(request: HttpRequest, subject: Subject[Any], pk: str) -> str:
    """Where the person came from, if that is a path of ours (what is none, `redirect` would take for a view's name)."""
    came_from = request.POST.get("next") or request.GET.get("next", "")
    if (
        came_from.startswith("/")
        and len(came_from) <= LONGEST_PATH
        and url_has_allowed_host_and_scheme(came_from, allowed_hosts={request.get_host()})
    ):
        return came_from
    if not subject.model._default_manager.filter(pk=pk).exists():
        return _changelist(subject)
    return reverse(f"admin:{subject.url_name}_change", args=[pk])
