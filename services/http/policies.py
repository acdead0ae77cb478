"""`GET /v1/policies`: the rules in force, as their tenant may read them."""

from typing import Literal

from pydantic import BaseModel, ConfigDict

from protector_models.moderation.policy.policy import DEFAULT_TENANT, Policy
from protector_models.moderation.policy.tenant_rules import TenantRules


class TenantPolicy(BaseModel):
    """What is in force for one tenant."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    object: Literal["policy"] = "policy"
    tenant: str
    policy_version: str
    """The policy it is of, "version@digest", as verdicts name it."""
    rules: TenantRules
    """With what the tenant has different already in it."""


class PolicyList(BaseModel):
    """Policies in force."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    object: Literal["list"] = "list"
    data: list[TenantPolicy]


def list_policies(policy: Policy, tenant: str | None) -> PolicyList:
    """Return the rules of a tenant; with None those for everybody and of every tenant that has some of its own."""
    tenants = dict.fromkeys((DEFAULT_TENANT, *policy.tenants)) if tenant is None else (tenant,)
    return PolicyList(
        data=[
            TenantPolicy(tenant=name, policy_version=policy.revision, rules=policy.for_tenant(name)) for name in tenants
        ]
    )
