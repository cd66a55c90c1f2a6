%% A worker or supervisor of a scenario, started by OTP's own supervisor through start/3.
-module(oracle_child).
-behaviour(supervisor).
-export([start/3, spec/3, init/1, worker/5]).

%% Runs in the supervisor that starts the child, as any start function.
start(Tab, Path, #{<<"supervisor">> := #{<<"dynamic">> := true} = Sup}) ->
    Count = oracle_log:count(Tab, Path),
    oracle_log:line(Tab, "start ~s#~b", [Path, Count]),
    started(Tab, Path, Count, dynamic, 'Elixir.DynamicSupervisor':start_link(?MODULE, {Tab, Path, Sup}, []));
start(Tab, Path, #{<<"supervisor">> := Sup}) ->
    Count = oracle_log:count(Tab, Path),
    oracle_log:line(Tab, "start ~s#~b", [Path, Count]),
    started(Tab, Path, Count, supervisor, supervisor:start_link(?MODULE, {Tab, Path, Sup}));
start(Tab, Path, Child) ->
    Count = oracle_log:count(Tab, Path),
    oracle_log:line(Tab, "start ~s#~b", [Path, Count]),
    Args = [Tab, Path, Count, Child, self()],
    started(Tab, Path, Count, worker, proc_lib:start_link(?MODULE, worker, Args, infinity, [{priority, high}])).

started(Tab, Path, Count, Kind, {ok, Pid} = Result) ->
    oracle_log:born(Tab, Path, Count, Kind, Pid),
    Result;
started(_, _, _, _, Result) ->
    Result.

%% A child of a scenario as OTP's child spec.
spec(Tab, Path, #{<<"id">> := Id, <<"restart">> := Restart, <<"shutdown">> := Shutdown} = Child) ->
    #{
        id => Id,
        start => {?MODULE, start, [Tab, <<Path/binary, $/, Id/binary>>, Child]},
        restart => binary_to_atom(Restart),
        shutdown => case Shutdown of _ when is_integer(Shutdown) -> Shutdown; _ -> binary_to_atom(Shutdown) end,
        significant => maps:get(<<"significant">>, Child, false),
        type => case Child of #{<<"supervisor">> := _} -> supervisor; _ -> worker end
    }.

%% supervisor

init({Tab, Path, Sup}) ->
    process_flag(priority, high),
    put(oracle, {Tab, Path}),
    flags(Tab, Path, Sup).

flags(_, _, #{<<"dynamic">> := true} = Sup) ->
    {ok, #{
        strategy => one_for_one,
        intensity => maps:get(<<"intensity">>, Sup),
        period => maps:get(<<"period">>, Sup),
        max_children => maps:get(<<"max_children">>, Sup, infinity),
        extra_arguments => []
    }};
flags(Tab, Path, Sup) ->
    Flags = #{
        strategy => binary_to_atom(maps:get(<<"strategy">>, Sup)),
        intensity => maps:get(<<"intensity">>, Sup),
        period => maps:get(<<"period">>, Sup),
        auto_shutdown => binary_to_atom(maps:get(<<"auto_shutdown">>, Sup, <<"never">>))
    },
    {ok, {Flags, [spec(Tab, Path, Child) || Child <- maps:get(<<"children">>, Sup)]}}.

%% worker

worker(Tab, Path, Count, Child, Supervisor) ->
    Stop = maps:get(<<"stop">>, Child, <<"obey">>),
    process_flag(trap_exit, Stop =/= <<"notrap">>),
    Starts = maps:get(<<"starts">>, Child, #{}),
    begin_as(maps:get(integer_to_binary(Count), Starts, <<"ok">>), {Tab, Path, Count, Stop, Supervisor}).

begin_as(<<"slow ", Outcome/binary>>, Self) ->
    gate(start, Self),
    begin_as(Outcome, Self);
begin_as(<<"ok">>, Self) ->
    proc_lib:init_ack({ok, self()}),
    live(Self);
begin_as(<<"ignore">>, _) ->
    proc_lib:init_ack(ignore);
begin_as(<<"fail ", Reason/binary>>, _) ->
    exit(binary_to_atom(Reason)).

live({Tab, Path, Count, Stop, Supervisor} = Self) ->
    receive
        {die, Reason} -> exit(Reason);
        {'EXIT', Supervisor, Reason} ->
            oracle_log:line(Tab, "stop ~s#~b ~s", [Path, Count, oracle_log:reason(Reason)]),
            stop(Stop, Reason, Self)
    end.

stop(<<"obey">>, Reason, _) -> exit(Reason);
stop(<<"exit ", Reason/binary>>, _, _) -> exit(oracle:reason(Reason));
stop(<<"stubborn">>, _, _) -> receive {die, Reason} -> exit(Reason) end;
stop(<<"slow">>, Reason, Self) -> gate(stop, Self), exit(Reason).

%% Says where it is and waits: its supervisor waits with it.
gate(Phase, {Tab, Path, _, _, _}) ->
    [{_, Runner}] = ets:lookup(Tab, runner),
    Runner ! {gate, self(), Path, Phase},
    receive
        go -> ok;
        {die, Reason} -> exit(Reason)
    end.
